"""``python -m include.local.services.learn``: serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from include.config.errors import ConfigError
from include.config.services import webhook_keys
from include.local.services.learn.api import Api
from include.local.services.learn.store import Store
from include.local.services.serving import configuration, serve

log = logging.getLogger("learn")
EPILOG = "MIT_LEARN_WEBHOOK_KEYS gives the keys of a new state, as <id>=<secret>, two at most; a state that exists keeps its own."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m include.local.services.learn", description=__doc__, epilog=EPILOG)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="SQLite file, made when absent")
    parser.add_argument("--mode", choices=("strict", "today"), default="strict", help="of a new state: how requests are verified")
    return parser.parse_args(argv)


def plain(api: Api, port: int, host: str = "127.0.0.1") -> uvicorn.Config:
    """uvicorn without a clock and a name of its own."""
    return configuration(api, port, host, http="h11", date_header=False, server_header=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the service; 0 after a signal, 1 when it cannot start."""
    options = arguments(argv)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    try:
        keys = {key.id: key.secret.get_secret_value() for key in webhook_keys()}
    except ConfigError as error:
        log.error("event=cannot-start error=%r", str(error))
        return 1
    store = Store(options.state, keys, options.mode)
    started = serve(plain(Api(store), options.port, options.host))
    store.close()
    log.info("event=stopped")
    return 0 if started else 1


if __name__ == "__main__":
    sys.exit(main())
