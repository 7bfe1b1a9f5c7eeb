"""``python -m include.local.services.openedx``: serves until SIGTERM or SIGINT, then ends within two seconds."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial

import psycopg

from include.config.errors import ConfigError
from include.config.services import openedx_application
from include.local.data.openedx_runs import CHANGED, DEPLOYMENTS, CourseRun, invented_runs, runs_from_databases
from include.local.services.openedx.app import OpenEdx
from include.local.services.openedx.content import MALFORMED, SMALL, Variety, generated
from include.local.services.openedx.exports import ExportPlan
from include.local.services.openedx.store import Deployment
from include.local.services.serving import configuration, serve

log = logging.getLogger("openedx")
EPILOG = "OPENEDX_CLIENT_ID and OPENEDX_CLIENT_SECRET give the credentials to accept, PGPASSWORD the password of a DSN without one."


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m include.local.services.openedx", description=__doc__, epilog=EPILOG)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    courses = parser.add_mutually_exclusive_group(required=True)
    courses.add_argument("--source-dsn", help="server of the generated databases: their course runs are served, also as they change later")
    courses.add_argument("--courses", type=int, help="so many invented course runs in each deployment")
    parser.add_argument("--seed", type=int, default=7, help="of invented course runs, and of what is inside them (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="small courses that are quickly made, for thousands of runs")
    parser.add_argument("--usual-sizes", action="store_true", help="courses of 40 to 400 blocks (default: 10 to 4,000, most of them few)")
    parser.add_argument("--malformed", type=_share, default=MALFORMED, help="share of courses with members that cannot be read (default: %(default)s)")
    parser.add_argument("--changed", type=float, default=CHANGED, help="share of invented course runs that a day publishes again (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--token-seconds", type=int, default=3600, help="lifetime of access tokens")
    parser.add_argument("--export-seconds", type=float, default=0.2, help="how long an export takes")
    parser.add_argument("--links", default="", help="start of the links between pages (default: the address that was asked)")
    return parser.parse_args(argv)


def _share(text: str) -> float:
    found = float(text)  # argparse tells of what is no number
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: a share between 0 and 1")
    return found


def deployments_of(options: argparse.Namespace) -> dict[str, Deployment]:
    """All deployments, with the runs that the command line asks for."""
    found = {}
    for name in DEPLOYMENTS:
        content = SMALL if options.small else generated(options.seed, Variety(not options.usual_sizes, options.malformed))
        found[name] = Deployment(name, partial(_runs, name, options), content, live=bool(options.source_dsn))
        plan = ExportPlan()
        found[name].exports.plan = plan.model_copy(update={"seconds": options.export_seconds / len(plan.states)})
    return found


def _runs(name: str, options: argparse.Namespace, day: int) -> tuple[CourseRun, ...]:
    if options.source_dsn:
        return runs_from_databases(options.source_dsn, name)
    return invented_runs(name, options.courses, seed=options.seed, day=day, changed=options.changed)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the service; 0 after a signal, 1 when it cannot start."""
    options = arguments(argv)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        service = OpenEdx(deployments_of(options), openedx_application(), token_seconds=options.token_seconds, latency=options.latency, links=options.links)
    except (ConfigError, psycopg.Error) as error:
        log.error("event=cannot-start error=%r", str(error).strip())
        return 1
    started = serve(configuration(service.application, options.port, options.host, access_log=False))
    log.info("event=stopped")
    return 0 if started else 1


if __name__ == "__main__":
    sys.exit(main())
