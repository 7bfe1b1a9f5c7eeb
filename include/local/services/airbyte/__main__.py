"""``python -m include.local.services.airbyte``: serves until SIGTERM or SIGINT, then ends within two seconds."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.services import airbyte_application
from include.lake.catalog import open_catalog
from include.local.services.airbyte.api import Api
from include.local.services.airbyte.connections import connections_of
from include.local.services.airbyte.destination import Destination
from include.local.services.airbyte.store import StateTakenError, Store
from include.local.services.airbyte.worker import Worker
from include.local.services.serving import configuration, serve
from include.local.services.tokens import Tokens

log = logging.getLogger("airbyte")
EPILOG = "AIRBYTE_CLIENT_ID and AIRBYTE_CLIENT_SECRET give the credentials to accept, PGPASSWORD the password of DSNs without one; pyiceberg reads its own."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m include.local.services.airbyte", description=__doc__, epilog=EPILOG)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dsn", required=True, help="the state's database, made when absent; its name is airbyte when the DSN has none")
    parser.add_argument("--source-dsn", required=True, help="server of the source databases; each is named like its unit")
    parser.add_argument("--catalog", help="catalog name (default: the environment's)")
    parser.add_argument("--units", type=Path, help="directory with an airbyte folder of unit files (default: the repository's)")
    parser.add_argument("--token-seconds", type=int, default=900, help="lifetime of access tokens")
    parser.add_argument("--slots", type=int, default=2, help="jobs at once")
    parser.add_argument("--streams", type=int, default=3, help="streams of one job at once")
    parser.add_argument("--public-url", help="start of paging links (default: http://localhost:PORT, as a self-managed Airbyte)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the service; 0 after a signal, 1 when it cannot start."""
    options = arguments(argv)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for noisy in ("pyiceberg", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        environment = current_environment()
        connections = connections_of(environment, options.units)
        catalog = open_catalog(environment if options.catalog in (None, environment.lake.catalog) else options.catalog)
        application = airbyte_application()
        store = Store(options.state_dsn)
    except (ConfigError, StateTakenError, psycopg.OperationalError) as error:
        log.error("event=cannot-start error=%r", str(error).strip())
        return 1
    worker = Worker(store, connections, Destination(catalog), options.source_dsn, slots=options.slots, streams_at_once=options.streams)
    tokens = Tokens(application.client_id, application.client_secret.get_secret_value(), options.token_seconds)
    api = Api(store, worker, connections, tokens, options.public_url or f"http://localhost:{options.port}")
    worker.start()
    started = serve(configuration(api.application(), options.port, options.host, http="h11"))
    worker.stop(seconds=0.7)
    log.info("event=stopped")
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0 if started else 1)  # a stream inside a long commit must not hold up the end; its job goes on at the next start


if __name__ == "__main__":
    sys.exit(main())
