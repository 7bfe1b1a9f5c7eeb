"""``schema create`` and ``schema drop``: a developer's own schemas of all layers but raw, where builds write beside production."""

from __future__ import annotations

import argparse

from include.config.environments import current_environment, use_suffix
from include.config.errors import ConfigError, Problem
from include.lake.clones.create import make_schemas
from include.lake.clones.drop import Removal, plan_schema_drop, remove
from include.lake.clones.names import CLONE_PR, Lake, pull_request_of_suffix
from include.lake.commands.clone import add_dry_run, removed_text
from include.lake.commands.text import table
from include.lake.rights import current_rights


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """The verbs and their flags."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make the schemas; those that exist stay as they are")
    add_suffix(create)
    create.set_defaults(run=_create)
    drop = verbs.add_parser("drop", help="remove the schemas and the tables in them")
    add_suffix(drop)
    add_dry_run(drop)
    drop.set_defaults(run=_drop)


def add_suffix(parser: argparse.ArgumentParser) -> None:
    """``--suffix``."""
    parser.add_argument("--suffix", default="", help="whose schemas: the word at their end; OL_SCHEMA_SUFFIX when absent")


__all__ = ["add_dry_run", "add_suffix", "add_verbs", "created", "dropped"]


def created(arguments: argparse.Namespace) -> tuple[list[str], str]:
    """Makes the schemas; their names, and the same as text."""
    lake, suffix = _lake(arguments)
    number = pull_request_of_suffix(suffix)
    schemas = make_schemas(lake, suffix, {CLONE_PR: str(number)} if number else {})
    lines = table(("LAYER", "SCHEMA"), [(layer.value, schema) for layer, schema in schemas.items()])
    return list(schemas.values()), f"{lines}\nbuild into them with OL_SCHEMA_SUFFIX={suffix}"


def dropped(arguments: argparse.Namespace) -> tuple[Removal, str]:
    """Removes the schemas; what was, or would be, removed, and the same as text."""
    lake, suffix = _lake(arguments)
    number = pull_request_of_suffix(suffix)
    if number:
        allowed = "a developer's; a pull request's clone keeps snapshots of its base, which only its own command gives up"
        raise ConfigError((Problem("arguments", "--suffix", repr(suffix), allowed, f"clone drop --pr {number}"),))
    removal = plan_schema_drop(lake, suffix)
    if not arguments.dry_run:
        remove(lake, removal)
    return removal, removed_text(removal, f"suffix {suffix}", dry_run=arguments.dry_run)


def _lake(arguments: argparse.Namespace) -> tuple[Lake, str]:
    """The lake of a process that may write the schemas with the suffix, and the suffix."""
    suffix = arguments.suffix or current_environment().schema_suffix
    if not suffix:
        raise ConfigError((Problem("arguments", "--suffix", "nothing, and no OL_SCHEMA_SUFFIX", "whose schemas", "--suffix me"),))
    Lake.of(current_environment())
    environment = use_suffix(suffix)
    current_rights.cache_clear()
    return Lake.of(environment), suffix


def _create(arguments: argparse.Namespace) -> str:
    return created(arguments)[1]


def _drop(arguments: argparse.Namespace) -> str:
    return dropped(arguments)[1]
