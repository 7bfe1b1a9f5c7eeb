"""Writes that can be repeated: every one carries a run key, and a second write under a key commits nothing.

=========================== =============================================================== ==========================================
:func:`append_once`         adds rows                                                       beside other appends and overwrites
:func:`merge`               adds new rows and replaces changed ones, by key                 planned again after every conflict
:func:`overwrite`           replaces all rows                                               last commit wins whole
:func:`overwrite_partition` replaces the rows that a filter names                           last commit wins whole, never a mix
:func:`replace_by_files`    the same, by data files that other processes have written       last commit wins whole, never a mix
=========================== =============================================================== ==========================================

A run key names one run's output in one table, for example ``airbyte__xpro:scheduled__2026-11-20T06:00:00``; the rules are in
:mod:`include.lake.runkeys`, the commit itself in :mod:`include.lake.commits`. Data is an Arrow table or a reader of batches; it is
streamed into data files before anything is committed, so a reader is read once whatever happens to the commit. A process killed at any
moment leaves at most files that no snapshot names, which maintenance removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.parser import parse
from pyiceberg.expressions.visitors import ROWS_MUST_MATCH, _StrictMetricsEvaluator, bind
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from include.lake import runkeys
from include.lake.commits import PATIENCE, Change, CommitConflictError, WriteResult, commit_keyed
from include.lake.files import delete_files, read_file, rows_of, write_files
from include.lake.fitting import Data, Fitter, SchemaMismatchError, add_missing_columns, table_name
from include.lake.merges import merge

__all__ = [
    "CommitConflictError",
    "SchemaMismatchError",
    "WriteResult",
    "append_once",
    "merge",
    "overwrite",
    "overwrite_partition",
    "replace_by_files",
    "written",
]


def append_once(table: Table, data: Data, run_key: str, *, evolve: bool = False, patience: float = PATIENCE) -> WriteResult:
    """Adds the rows unless ``run_key`` has added them already; no rows commit nothing.

    ``evolve`` adds columns that the table lacks. Raises :class:`SchemaMismatchError` before anything is written when the schema does not
    fit (a null in a required column: when it is met), :class:`CommitConflictError` when other writers stay faster for ``patience`` seconds.
    """
    if known := _known(table, run_key):
        return known
    files = tuple(write_files(table, _fitted(table, data, evolve)))
    change = Change(added=files) if files else None
    return commit_keyed(table, run_key, lambda current: change, own=files, patience=patience)


def overwrite(table: Table, data: Data, run_key: str, *, evolve: bool = False, patience: float = PATIENCE) -> WriteResult:
    """Replaces all rows of the table in one commit; errors as :func:`append_once`. No rows empty the table."""
    return _replace(table, data, AlwaysTrue(), run_key, evolve=evolve, patience=patience)


def overwrite_partition(
    table: Table,
    data: Data,
    where: str | BooleanExpression,
    run_key: str,
    *,
    unless: str | BooleanExpression | None = None,
    evolve: bool = False,
    patience: float = PATIENCE,
) -> WriteResult:
    """Replaces the rows that ``where`` names, for example ``"day = '2026-11-20'"``, by ``data`` in one commit.

    Files wholly inside the filter are dropped, others are rewritten without the rows in question, so the filter need not follow the
    table's partitions, only is fastest when it does. Two writers of one partition serialise: each replaces all that the other left.
    Nothing is replaced when the table holds a row that ``unless`` names, for example a newer version of the same rows: that is looked at in
    the very snapshot that the commit replaces. Raises ``ValueError`` when a row of the data lies outside the filter, since the next overwrite
    would not remove it; otherwise as :func:`append_once`.
    """
    guard = parse(unless) if isinstance(unless, str) else unless
    return _replace(table, data, parse(where) if isinstance(where, str) else where, run_key, unless=guard, evolve=evolve, patience=patience)


def replace_by_files(table: Table, files: Sequence[DataFile], where: str | BooleanExpression, run_key: str, *, patience: float = PATIENCE) -> WriteResult:
    """Replaces the rows that ``where`` names by those of ``files``, which :class:`include.lake.files.PartitionWriter` wrote beforehand.

    Every row of the files must lie inside the filter: that is the writer's partition. The files are removed when they turn out not to be
    needed, because the key is known or other writers stayed faster. Otherwise as :func:`overwrite_partition`.
    """
    runkeys.check_key(run_key)
    own, filter_ = tuple(files), parse(where) if isinstance(where, str) else where
    return commit_keyed(table, run_key, lambda current: _replacement(current, own, filter_), own=own, patience=patience)


def written(table: Table, run_key: str) -> WriteResult | None:
    """What a write under the key has done already, or nothing: asked before work that would be in vain. Refreshes ``table``."""
    return _known(table, run_key)


def _replace(
    table: Table, data: Data, where: BooleanExpression, run_key: str, *, evolve: bool, patience: float, unless: BooleanExpression | None = None
) -> WriteResult:
    if known := _known(table, run_key):
        return known
    if unless is not None and _holds(table, unless):
        return WriteResult(table.metadata.current_snapshot_id, 0, 0, committed=False)
    files = tuple(write_files(table, _inside(table, _fitted(table, data, evolve), where)))

    def plan(current: Table) -> Change | None:
        return None if unless is not None and _holds(current, unless) else _replacement(current, files, where)

    result = commit_keyed(table, run_key, plan, own=files, patience=patience)
    if not result.committed:  # what came first has its own files
        delete_files(table.io, files)
    return result


def _holds(table: Table, rows: BooleanExpression) -> bool:
    return bool(table.scan(row_filter=rows, limit=1).to_arrow().num_rows)


def _known(table: Table, run_key: str) -> WriteResult | None:
    """The first write under the key, looked for before any file is written: most repetitions end here."""
    runkeys.check_key(run_key)
    table.refresh()
    known = runkeys.find(table.metadata, run_key)
    return WriteResult(known.snapshot_id, known.rows, known.bytes, committed=False) if known else None


def _fitted(table: Table, data: Data, evolve: bool) -> Iterator[pa.RecordBatch]:
    if evolve:
        add_missing_columns(table, data.schema)
    return Fitter(table, data.schema).batches(data)


def _inside(table: Table, batches: Iterator[pa.RecordBatch], where: BooleanExpression) -> Iterator[pa.RecordBatch]:
    """The batches themselves. Raises ``ValueError`` at the first row that the filter does not name."""
    matches = _matches(table, where)
    first_row = 0
    for batch in batches:
        if pa.Table.from_batches([batch]).filter(~matches).num_rows:
            raise ValueError(f"{table_name(table)}: data row {_first_outside(batch, matches, first_row)}; allowed: rows where {where}")
        first_row += batch.num_rows
        yield batch


def _first_outside(batch: pa.RecordBatch, matches: pc.Expression, first_row: int) -> str:
    numbered = pa.Table.from_batches([batch]).append_column("__row", pa.array(range(first_row, first_row + batch.num_rows)))
    row = numbered.filter(~matches).slice(0, 1).to_pylist()[0]
    return f"{row.pop('__row')}: found {row}"


def _matches(table: Table, where: BooleanExpression) -> pc.Expression:
    """The filter for Arrow, false where Iceberg's logic says unknown: a null is neither inside nor to be replaced."""
    expression = expression_to_pyarrow(bind(table.schema(), where, case_sensitive=True), table.schema())
    return pc.coalesce(expression, pc.scalar(False))


def _replacement(table: Table, files: tuple[DataFile, ...], where: BooleanExpression) -> Change | None:
    """What must go from the table as it is now so that ``files`` are all that ``where`` names."""
    certain = _StrictMetricsEvaluator(table.schema(), where)
    matches = _matches(table, where)
    removed: list[DataFile] = []
    planned: list[DataFile] = []
    replaced = 0
    for task in table.scan(row_filter=where).plan_files():
        if certain.eval(task.file) == ROWS_MUST_MATCH and not task.delete_files:
            removed.append(task.file)
            replaced += task.file.record_count
            continue
        rows = read_file(table, task)
        kept = rows.filter(~matches)
        if kept.num_rows < rows.num_rows:
            removed.append(task.file)
            replaced += rows.num_rows - kept.num_rows
            planned.extend(write_files(table, kept.to_batches()))
    if not removed and not files:
        return None
    return Change(added=(*files, *planned), removed=tuple(removed), planned=tuple(planned), moved=rows_of(planned), replaced=replaced)
