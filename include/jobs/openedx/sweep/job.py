"""Sweeps over all course runs of a deployment: which were published again since they were last reported?"""

from __future__ import annotations

import argparse
import asyncio
import logging
from dataclasses import asdict
from datetime import UTC, datetime

from include.config.environments import current_environment
from include.config.services import openedx_application
from include.config.vocabulary import Layer
from include.contract import JobResult, TransientError
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.keys import why_refused
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Budget
from include.jobs.openedx.api.tokens import TYPES, Application
from include.jobs.openedx.sweep import table
from include.jobs.openedx.sweep.observe import observe
from include.jobs.openedx.sweep.settle import check, order_of, settle
from include.jobs.openedx.sweep.state import Known, States, Sweep
from include.lake.catalog import open_catalog
from include.lake.commits import CommitConflictError
from include.lake.names import table_in

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", required=True, help="the word in table names, for example mitxonline")
    parser.add_argument("--lms", required=True, help="the LMS's address, for example https://courses.mitxonline.mit.edu")
    parser.add_argument("--authorization", choices=TYPES, default="JWT", help="of access tokens (default: %(default)s)")
    parser.add_argument("--state", required=True, help="folder or URL below which what is known is kept")
    parser.add_argument(
        "--known",
        default="",
        help="where to go on: the state object of the last sweep whose changes were dealt with, or versions as JSON; the newest object when empty",
    )
    parser.add_argument("--budget-seconds", type=float, default=180.0, help="no request begins later than that (default: %(default)s)")
    parser.add_argument("--max-requests", type=int, default=10_000, help="requests at most, repeated ones included (default: %(default)s)")
    parser.add_argument("--max-changed", type=int, default=500, help="changed runs reported at most; the others wait for the next sweep (default: %(default)s)")
    parser.add_argument("--concurrency", type=int, default=16, help="requests at once (default: %(default)s)")
    parser.add_argument("--run-key", required=True, help="names this sweep; a repetition under the same key asks nothing again")


def run(arguments: argparse.Namespace) -> JobResult:
    """The changed runs and the address of the new state. Raises ``TransientError`` or ``PermanentError`` for a sweep that learned nothing."""
    environment = current_environment()
    states = States(arguments.state, arguments.deployment)
    sweep = states.finished(arguments.run_key)
    if sweep is None:
        application = Application(f"{arguments.lms.rstrip('/')}/oauth2/access_token", *openedx_application(), arguments.authorization)
        known = states.known(arguments.known, datetime.now(UTC))
        budget = Budget(arguments.budget_seconds, arguments.max_requests)
        sweep = asyncio.run(sweep_once(arguments, application, budget, known))
        states.write(sweep)  # before the table: a second attempt must append these very observations, not others
    else:
        log.info("sweep %s was finished by an earlier attempt", arguments.run_key)
    _log(sweep)
    ref = table_in(environment, Layer.RAW, table.table_name(arguments.deployment))
    try:
        result = table.append(open_catalog(environment), ref, sweep)
    except CommitConflictError as error:
        raise TransientError(str(error)) from error
    facts = {
        "state": states.url(sweep.run_key),
        "changed": list(sweep.changed),
        "counts": asdict(sweep.counts),
        "cut": sweep.cut,
        "requests": {"made": sweep.requests, "allowed": arguments.max_requests},
        "refused": len(sweep.refused),
        "failures": list(sweep.failures),
    }
    return JobResult(tables={str(ref): result}, facts=facts, links={"state": states.url(sweep.run_key)})


async def sweep_once(arguments: argparse.Namespace, application: Application, budget: Budget, known: dict[str, Known]) -> Sweep:
    """One sweep over the network, nothing kept."""
    at = datetime.now(UTC)
    async with Client(arguments.lms, application, concurrency=arguments.concurrency, budget=budget) as client:
        lms = Lms(client)
        found = await lms.courses()
        if not found.ids and known:
            raise TransientError(f"{arguments.lms}: the course list is empty, {len(known)} course runs are known; may this application's user see courses?")
        refused = {name: reason for name in found.ids if (reason := why_refused(name))}
        listed = [name for name in found.ids if name not in refused]
        order = order_of(known, listed)
        log.info("%d course runs to ask for, with %d requests and %.0f s left", len(order), budget.requests - budget.made, budget.left)
        attempts = await observe(lms, order, listed)
    settled = settle(known, listed, attempts, most=arguments.max_changed)
    cut = budget.spent if settled.counts.left or settled.counts.failed else ""
    check(settled, attempts, cut)
    return Sweep(
        deployment=arguments.deployment,
        run_key=arguments.run_key,
        at=at,
        courses=settled.courses,
        changed=settled.changed,
        observations=settled.observations,
        counts=settled.counts,
        refused=refused,
        failures=settled.failures,
        cut=cut,
        requests=budget.made,
    )


def _log(sweep: Sweep) -> None:
    counts = sweep.counts
    log.info(
        "%s: %d course runs listed, %d observed, %d new, %d changed, %d gone; %d reported now, %d wait; %d requests",
        *(sweep.deployment, counts.listed, counts.observed, counts.new, counts.changed, counts.gone, len(sweep.changed), counts.waiting, sweep.requests),
    )
    for reason in sweep.refused.values():
        log.warning("refused: %s", reason)
    for problem in sweep.failures:
        log.warning("not observed: %s", problem)
    if sweep.cut:
        log.warning("cut short by the %s: %d course runs are left for the next sweep", sweep.cut, counts.left)
