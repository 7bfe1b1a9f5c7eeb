"""Runs ``dbt build`` once, tells its progress as it goes, resumes where an earlier attempt of the same run stopped.

Nodes that fail because Trino or the catalog was away are tried again here; what fails for its own reasons is reported and left.
Ends with exit 0 when dbt came to its end, also with failed models: each model's task shows its own failure.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import tempfile
import threading
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import fsspec

from include.config.environments import EnvironmentSettings, current_environment
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs.warehouse.dbt import NO_VARIABLES, Dbt, Selection
from include.jobs.warehouse.outcomes import NodeResult, Outcomes
from include.jobs.warehouse.progress import FINAL, ModelState, Progress, ProgressDocument
from include.jobs.warehouse.tables import table_results
from include.lake.manifest import Warehouse, load_warehouse
from include.redaction import redact_json

log = logging.getLogger(__name__)
RESULTS = "run_results.json"
PAUSES = (5.0, 15.0, 30.0)
"""Seconds to wait before each further round for nodes that met a service that was away."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--select", default="", help="dbt selectors, separated by blanks; nothing selects all but models with a DAG of their own")
    parser.add_argument("--exclude", default="", help="dbt selectors to leave out")
    parser.add_argument("--progress", required=True, help="path or URL of the progress document")
    parser.add_argument("--run-key", required=True, help="names the run; an attempt with the same key resumes the one before")
    parser.add_argument("--artifacts", default="", help="path or URL of the folder that run_results.json is published to")
    parser.add_argument("--full-refresh", action="store_true", help="rebuild incremental models from nothing")
    days = "write all events of these days again, both included and no others, in the facts of events (dbt's variables min_date and max_date)"
    parser.add_argument("--min-date", type=_day, default="", metavar="DAY", help=f"with --max-date: {days}; for example 2026-03-01")
    parser.add_argument("--max-date", type=_day, default="", metavar="DAY", help="see --min-date")
    parser.add_argument("--threads", type=int, default=4, help="models built at a time")


def run(arguments: argparse.Namespace) -> JobResult:
    """Builds what is selected. Raises ``PermanentError`` for a project or selector that dbt refuses, ``TransientError`` when the
    lake stayed away; the next attempt then builds what is missing."""
    signal.signal(signal.SIGTERM, _interrupt)
    environment = current_environment()
    warehouse = load_warehouse()
    with tempfile.TemporaryDirectory(prefix="ol-dbt-") as folder:
        variables = variables_of(arguments.min_date, arguments.max_date)
        dbt = Dbt(environment.name.value, Path(folder), arguments.threads, variables, suffix=environment.schema_suffix)
        dbt.prepare()
        others = () if arguments.select else tuple(f"tag:{dag_id}" for dag_id in warehouse.own_dags)
        selection = Selection(tuple(arguments.select.split()), (*arguments.exclude.split(), *others))
        selected = dbt.select(selection)
        if not selected:
            raise PermanentError(f"--select {arguments.select!r} --exclude {arguments.exclude!r}: found no model; allowed: what `dbt ls --select` accepts")
        progress = _take_up(arguments, warehouse, selected)
        build = _Build(dbt, warehouse, progress, selection, selected, full_refresh=arguments.full_refresh)
        finished = False
        try:
            build.run()
            result = _result(environment, warehouse, progress.document, arguments)
            finished = True  # an attempt that dies without its result is resumed; after one with a result, the same key builds anew (a cleared task)
        finally:
            progress.finish(finished)
            _publish_artifacts(dbt.folder, arguments.artifacts)
    return result


def variables_of(min_date: str, max_date: str) -> str:
    """dbt's variables for a range of days, as JSON; those of a usual build for two empty texts. Raises ``PermanentError`` for half a range and an empty one."""
    if bool(min_date) != bool(max_date) or min_date > max_date:
        found = f"--min-date {min_date or 'nothing'}, --max-date {max_date or 'nothing'}"
        raise PermanentError(f"{found}; allowed: both or neither, the first not after the last; for example: --min-date 2026-03-01 --max-date 2026-03-31")
    return json.dumps({"min_date": min_date, "max_date": max_date}) if min_date else NO_VARIABLES


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a day; for example: 2026-03-01") from None


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt  # dbt then cancels its queries before it ends


def _take_up(arguments: argparse.Namespace, warehouse: Warehouse, selected: frozenset[str]) -> Progress:
    """The run's progress: what an earlier attempt finished stays finished."""
    earlier = ProgressDocument.read(arguments.progress)
    document = ProgressDocument(arguments.run_key)
    if earlier is not None and earlier.run_key == arguments.run_key:
        document.attempt = earlier.attempt
        if not earlier.finished:
            document.nodes = {name: state for name, state in earlier.nodes.items() if state.state == "success"}
            log.info("resuming: %d models are built already", len(document.nodes))
    document.attempt += 1
    document.selected = sorted(unique_id for unique_id in selected if unique_id in warehouse.by_id)
    progress = Progress(arguments.progress, document)
    progress.start()
    return progress


class _Build:
    """One attempt: rounds of ``dbt build`` until nothing is left that another round could mend."""

    def __init__(self, dbt: Dbt, warehouse: Warehouse, progress: Progress, selection: Selection, selected: frozenset[str], *, full_refresh: bool) -> None:
        self.dbt = dbt
        self.warehouse = warehouse
        self.progress = progress
        self.selection = selection
        self.outcomes = Outcomes(warehouse, selected)
        self.full_refresh = full_refresh
        self._judging = threading.Lock()

    def run(self) -> None:
        for pause in (0.0, *PAUSES):
            pending = self._pending()
            if not pending:
                return
            if pause:
                log.warning("%d nodes met a service that was away; trying them again in %.0f s", len(pending), pause)
                time.sleep(pause)
                self._forget(pending)
            try:
                self.dbt.build(self._selection_of(pending), self._report, self.full_refresh)
            except TransientError as error:
                log.warning("dbt stopped: %s", error)
        if left := self._pending():
            raise TransientError(f"{len(left)} of {len(self.outcomes.expected)} nodes are not built: the lake stayed away")

    def _selection_of(self, pending: frozenset[str]) -> Selection:
        """The run's own selectors while everything is to be built: dbt goes through all nodes for every name, eleven seconds for 1,400 names."""
        if pending == self.outcomes.expected:
            return self.selection
        return Selection(tuple(_selector(unique_id) for unique_id in sorted(pending)), exact=True)

    def _pending(self) -> frozenset[str]:
        """Nodes of models without a final state, and everything selected after them."""
        nodes = self.progress.document.nodes
        waiting_skip = self._skipped_for_transient()
        models = {m for m in self.progress.document.selected if m not in nodes or nodes[m].state not in FINAL or m in waiting_skip}
        parts = {part for m in models for part in (m, *self.warehouse.by_id[m].tests)}
        judged = {test for model in self.warehouse.models for test in model.tests}
        unowned = {node for node in self.outcomes.expected if node not in self.warehouse.by_id and node not in judged and node not in self.outcomes.results}
        return frozenset((parts & self.outcomes.expected) | unowned)

    def _skipped_for_transient(self) -> set[str]:
        """Models skipped, directly or not, because something before them is to be tried again."""
        nodes = self.progress.document.nodes
        again = {name for name, state in nodes.items() if state.state == "retrying"}
        grew = bool(again)
        while grew:
            after = {m.unique_id for m in self.warehouse.models if nodes.get(m.unique_id, _NONE).state == "skipped" and again & set(m.upstream)}
            grew = not after <= again
            again |= after
        return again

    def _forget(self, pending: frozenset[str]) -> None:
        for unique_id in pending:
            self.outcomes.results.pop(unique_id, None)

    def _report(self, result: NodeResult) -> None:
        """Called by dbt's threads: the judgement of one must not be overtaken by that of a later one on its way to the progress."""
        with self._judging:
            judged = self.outcomes.add(result)
            if judged is not None:
                self._note(*judged)

    def _note(self, unique_id: str, state: ModelState) -> None:
        name = self.warehouse.by_id[unique_id].name
        if state.state == "success":
            log.info("%s: built and tested in %.1f s%s", name, state.seconds, f", {state.rows:,} rows" if state.rows is not None else "")
        elif state.state == "failed":
            log.error("%s: %s", name, state.message)
        elif state.state == "skipped" and self._may_be_retried(unique_id):
            state = replace(state, state="retrying")
        self.progress.update(unique_id, state)

    def _may_be_retried(self, unique_id: str) -> bool:
        nodes = self.progress.document.nodes
        return any(nodes.get(parent, _NONE).state == "retrying" for parent in self.warehouse.by_id[unique_id].upstream)


_NONE = ModelState("")


def _selector(unique_id: str) -> str:
    return unique_id.split(".")[2]


def _publish_artifacts(folder: Path, destination: str) -> None:
    """Publishes ``run_results.json``, after a failed run too: that is when people look for it. dbt masks only what it knows to be secret."""
    results = folder / RESULTS
    if not destination or not results.exists():
        return
    with fsspec.open(f"{destination}/{RESULTS}", "wb", auto_mkdir=True) as target:
        target.write(redact_json(results.read_bytes()))


def _result(environment: EnvironmentSettings, warehouse: Warehouse, document: ProgressDocument, arguments: argparse.Namespace) -> JobResult:
    built = [warehouse.by_id[name] for name in document.selected if document.nodes.get(name, _NONE).state == "success"]
    tables: dict[str, TableResult] = table_results(environment, built, document, arguments.run_key)
    states = [document.nodes.get(name, _NONE).state for name in document.selected]
    counts = {state: states.count(state) for state in sorted(set(states))}
    log.info("%d models: %s", len(states), ", ".join(f"{count} {state}" for state, count in counts.items()))
    return JobResult(
        tables=tables,
        facts={"models": counts, "attempt": document.attempt},
        links={"run_results": f"{arguments.artifacts}/{RESULTS}"} if arguments.artifacts else {},
    )
