"""``python -m include.local.services.github``: serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from include.config.errors import ConfigError
from include.config.services import github_token
from include.local.services.github.api import GitHub
from include.local.services.serving import configuration, serve

log = logging.getLogger("github")


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m include.local.services.github", description=__doc__, epilog="GITHUB_TOKEN is the token to accept.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repository", required=True, help="owner and name of the one repository")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the service; 0 after a signal, 1 when it cannot start."""
    options = arguments(argv)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    try:
        api = GitHub(options.repository, github_token())
    except ConfigError as error:
        log.error("event=cannot-start error=%r", str(error))
        return 1
    started = serve(configuration(api.application(), options.port, options.host, http="h11"))
    log.info("event=stopped")
    return 0 if started else 1


if __name__ == "__main__":
    sys.exit(main())
