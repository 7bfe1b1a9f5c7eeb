"""Parses the dbt project for addresses of Trino and keeps each state where jobs find it: ``python -m include.jobs.warehouse.parse qa=https://ol@host:443/catalog``.

An image's build runs it, so that a job in a pod starts with a project that is parsed. Needs no Trino.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from include.config.errors import ConfigError, Problem
from include.jobs.warehouse.dbt import Dbt

EXAMPLE = "qa=https://ol@trino.qa.ol.internal:443/ol_data_lake_qa"


def address_of(text: str) -> tuple[str, dict[str, str]]:
    """dbt's target and the variables that a pod of that environment has. Raises ``ConfigError`` for anything but ``target=scheme://user@host:port/catalog``."""
    target, _, url = text.partition("=")
    parts = urlsplit(url)
    catalog = parts.path.strip("/")
    if not (target and parts.scheme in ("http", "https") and parts.username and parts.hostname and parts.port and catalog):
        raise ConfigError((Problem("arguments", "address", repr(text), "target=scheme://user@host:port/catalog", EXAMPLE),))
    names = ("TRINO_HTTP_SCHEME", "TRINO_USER", "TRINO_HOST", "TRINO_PORT", "TRINO_CATALOG")
    return target, dict(zip(names, (parts.scheme, parts.username, parts.hostname, str(parts.port), catalog), strict=True))


def main(arguments: list[str]) -> int:
    """Exit code 1 with a message for an address that is none."""
    try:
        addresses = [address_of(text) for text in arguments]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for target, variables in addresses:
        os.environ |= variables
        with tempfile.TemporaryDirectory() as folder:
            Dbt(target, Path(folder)).prepare()
        print(f"parsed for {target} at {variables['TRINO_HOST']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
