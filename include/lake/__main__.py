"""``python -m include.lake <noun> <verb> --flags``: what people do to the lake by hand. Exit code 1 with a message when it cannot be done.

====================================== ===========================================================
``clone create|list|drop``             a pull request's tables: :mod:`include.lake.commands.clone`
``schema create|drop``                 a developer's schemas: :mod:`include.lake.commands.schema`
====================================== ===========================================================
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys

from pyiceberg.exceptions import NoSuchNamespaceError

from include.config.environments import secret_values
from include.config.errors import ConfigError
from include.lake.clones.names import CloneError
from include.lake.metadata import PointerMovedError
from include.lake.rights import ForbiddenError
from include.lake.store_errors import StoreError
from include.redaction import redact, register

NOUNS = {"clone": "include.lake.commands.clone", "schema": "include.lake.commands.schema"}
REFUSED = (ConfigError, CloneError, ForbiddenError, StoreError, PointerMovedError, NoSuchNamespaceError)


def main(argv: list[str]) -> int:
    """Runs one command."""
    register(secret_values())
    logging.getLogger("pyiceberg").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m include.lake", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    nouns = parser.add_subparsers(dest="noun", required=True)
    for noun, module in NOUNS.items():
        if not argv or argv[0] == noun or argv[0] not in NOUNS:
            commands = importlib.import_module(module)
            commands.add_verbs(nouns.add_parser(noun, help=commands.__doc__))
    arguments = parser.parse_args(argv)
    try:
        print(redact(arguments.run(arguments)))
    except REFUSED as error:
        print(redact(f"error: {error}"), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
