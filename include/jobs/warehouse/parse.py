"""Parses the dbt project for addresses of Trino and keeps each state where jobs find it: ``python -m include.jobs.warehouse.parse qa=https://ol@host:443/catalog``.

An image's build runs it, so that a job in a pod starts with a project that is parsed. Needs no Trino.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from include.config.environments import LakeConnection, use_lake
from include.config.errors import ConfigError, Problem
from include.jobs.warehouse.dbt import Dbt

EXAMPLE = "qa=https://ol@trino.qa.ol.internal:443/ol_data_lake_qa"


def address_of(text: str) -> tuple[str, LakeConnection]:
    """dbt's target and where its Trino answers. Raises ``ConfigError`` for anything but ``target=scheme://user@host:port/catalog``."""
    target, _, url = text.partition("=")
    parts = urlsplit(url)
    catalog = parts.path.strip("/")
    if not (target and parts.scheme in ("http", "https") and parts.username and parts.hostname and parts.port and catalog):
        raise ConfigError((Problem("arguments", "address", repr(text), "target=scheme://user@host:port/catalog", EXAMPLE),))
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return target, LakeConnection(host=parts.hostname, port=parts.port, user=parts.username, catalog=catalog, http_scheme=scheme)


def main(arguments: list[str]) -> int:
    """Exit code 1 with a message for an address that is none."""
    try:
        addresses = [address_of(text) for text in arguments]
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for target, address in addresses:
        use_lake(address)
        with tempfile.TemporaryDirectory() as folder:
            Dbt(target, Path(folder)).prepare()
        print(f"parsed for {target} at {address.host}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
