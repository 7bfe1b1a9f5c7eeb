"""``clone create``, ``clone list``, ``clone drop``: tables of a pull request that begin as its base's, without a copied byte."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from include.config.environments import current_environment
from include.lake.clones.create import Cloned, Done, create_clone
from include.lake.clones.drop import Removal, plan_clone_drop, remove
from include.lake.clones.names import Lake, suffix_of
from include.lake.clones.registry import Clone, clones_of
from include.lake.clones.selection import choose
from include.lake.commands.text import count, moment, size, table


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """The verbs and their flags."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="clone the base's tables, all of them or those of selected models", description=create_clone.__doc__)
    add_create_flags(create)
    create.set_defaults(run=_create)
    verbs.add_parser("list", help="all clones, their size and age").set_defaults(run=_list)
    drop = verbs.add_parser("drop", help="remove a clone: its tables, files and tags, and nothing of its base")
    add_drop_flags(drop)
    drop.set_defaults(run=_drop)


def add_create_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of create, for the job as well."""
    add_pull_request(parser)
    parser.add_argument("--select", nargs="+", action="extend", default=[], metavar="SELECTOR", help="dbt selectors of the models to clone: state:modified+")
    parser.add_argument("--state", type=Path, help="folder with the base's manifest.json, for state: selectors")
    parser.add_argument("--all-materializations", action="store_true", help="also models that every build makes anew")


def add_drop_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of drop, for the job as well."""
    add_pull_request(parser)
    add_dry_run(parser)


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """``--dry-run`` of what removes."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def add_pull_request(parser: argparse.ArgumentParser) -> None:
    """``--pr``, a number above 0."""
    parser.add_argument("--pr", type=_number, required=True, metavar="NUMBER", help="the pull request")


def created(arguments: argparse.Namespace) -> tuple[list[Cloned], str]:
    """Does what the flags of create ask for; what became of each table, and the same as text."""
    begin = time.monotonic()
    lake = Lake.of(current_environment())
    chosen = choose(lake.environment, arguments.select, arguments.state) if arguments.select else None
    done = create_clone(lake, arguments.pr, chosen, all_materializations=arguments.all_materializations)
    numbers = Counter(one.done for one in done)
    rows = [(one.name, one.done.value, one.snapshot_id or "", one.reason) for one in done]
    place = f"{lake.environment.lake.schema_prefix}_<layer>_{suffix_of(arguments.pr)}"
    summary = (
        f"{numbers[Done.CLONED]} cloned, {numbers[Done.EXISTS]} there before, {numbers[Done.SKIPPED]} skipped in {time.monotonic() - begin:.1f} s; {place}"
    )
    return done, f"{table(('TABLE', 'DONE', 'SNAPSHOT', 'WHY'), rows, ('SNAPSHOT',))}\n{summary}" if rows else f"no table to clone; {place}"


def dropped(arguments: argparse.Namespace) -> tuple[Removal, str]:
    """Does what the flags of drop ask for; what was, or would be, removed, and the same as text."""
    lake = Lake.of(current_environment())
    removal = plan_clone_drop(lake, arguments.pr)
    if not arguments.dry_run:
        remove(lake, removal)
    return removal, removed_text(removal, f"pull request {arguments.pr}", dry_run=arguments.dry_run)


def removed_text(removal: Removal, whose: str, *, dry_run: bool) -> str:
    """A removal for people."""
    if removal.nothing:
        return f"nothing of {whose} is there"
    rows = [(one.name, "table") for one in removal.tables] + [(f"{schema}.{view}", "view") for schema, view in removal.views]
    listed = [table(("NAME", "KIND"), sorted(rows))] if rows else []
    files = f"{count(len(removal.files), 'file')} ({size(removal.bytes)})"
    parts = [count(len(removal.tables), "table"), *([count(len(removal.views), "view")] if removal.views else []), files, count(len(removal.schemas), "schema")]
    parts += [f"tag {removal.tag} on {count(len(removal.tags), 'table')} of the base"] if removal.tags else []
    listed.append(f"{'would remove' if dry_run else 'removed'} {', '.join(parts)}")
    return "\n".join(listed)


def listed(clones: list[Clone]) -> str:
    """Clones for people."""
    if not clones:
        return "there are no clones"
    rows = [(one.pull_request, one.tables, size(one.bytes), moment(one.created), moment(one.written), one.pinned) for one in clones]
    return table(("PR", "TABLES", "OWN FILES", "CREATED", "LAST WRITTEN", "PINNED"), rows, ("PR", "TABLES", "OWN FILES", "PINNED"))


def _create(arguments: argparse.Namespace) -> str:
    return created(arguments)[1]


def _drop(arguments: argparse.Namespace) -> str:
    return dropped(arguments)[1]


def _list(arguments: argparse.Namespace) -> str:
    return listed(clones_of(Lake.of(current_environment())))


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a pull request's number; for example: 1523")
    return int(text)
