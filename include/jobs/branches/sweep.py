"""Drops the clones of closed pull requests and those that nobody has written to for a while; with ``--event``, does what one pull request's event asks for.

========================================== =======================================================================
open, written to within the idle days      kept
closed, and GitHub says so of this one     dropped
not written to for the idle days           dropped, open or not: it can be made again at any time
GitHub knows no such pull request          kept until it is idle
========================================== =======================================================================

All of GitHub's answers come before the first drop: one that is missing or half fails the job, and nothing was dropped.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from include.config.environments import current_environment
from include.config.errors import ConfigError, Problem
from include.config.services import github_token
from include.contract import JobResult, PermanentError
from include.jobs.branches.failures import told
from include.jobs.branches.github import GitHub
from include.lake.clones.create import make_schemas
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import CLONE_PR, Lake, suffix_of
from include.lake.clones.registry import Clone, clones_of
from include.lake.commands.text import moment, size, table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """What is to become of one clone, and why."""

    clone: Clone
    drop: bool
    reason: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--api", required=True, help="GitHub's API, for example https://api.github.com")
    parser.add_argument("--repository", required=True, help="owner and name, for example mitodl/ol-data-platform")
    parser.add_argument("--idle-days", type=int, default=14, help="days without a write after which a clone is forgotten (default: %(default)s)")
    parser.add_argument("--event", choices=("", "opened", "closed"), default="", help="what happened to --pr; the sweep over all when empty")
    parser.add_argument("--pr", type=int, default=0, help="the event's pull request")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: what was dropped, kept and failed, by pull request. Raises ``PermanentError`` when a clone may not be removed, after the others were."""
    if bool(arguments.event) != (arguments.pr > 0):
        found = f"--event {arguments.event!r} --pr {arguments.pr}"
        raise ConfigError((Problem("arguments", "--event", found, "an event with its pull request, or neither", "--event closed --pr 1523"),))
    lake = Lake.of(current_environment())
    with GitHub(arguments.api, arguments.repository, github_token()) as github, told():
        return _event(lake, github, arguments) if arguments.event else _sweep(lake, github, arguments)


def decide(clones: Iterable[Clone], listed: frozenset[int], state_of: Callable[[int], str | None], idle_days: int, now: datetime) -> list[Decision]:
    """What is to become of each clone.

    ``listed`` are the open pull requests. GitHub is asked about one that is missing there by itself: a list moves while its pages are read.
    """
    decisions = []
    for clone in clones:
        state = "open" if clone.pull_request in listed else state_of(clone.pull_request)
        idle = clone.written is not None and now - clone.written >= timedelta(days=idle_days)
        if state == "closed":
            decisions.append(Decision(clone, True, "closed"))
        elif idle:
            decisions.append(Decision(clone, True, f"not written to for {(now - clone.written).days} days" if clone.written else ""))
        else:
            decisions.append(Decision(clone, False, "open" if state else "GitHub knows no such pull request; kept until it is idle"))
    return decisions


def _sweep(lake: Lake, github: GitHub, arguments: argparse.Namespace) -> JobResult:
    clones = clones_of(lake)
    decisions = decide(clones, github.open_numbers(), github.state_of, arguments.idle_days, datetime.now(UTC))
    failures: dict[int, str] = {}
    for decision in decisions:
        if decision.drop and not arguments.dry_run:
            try:
                with told():
                    _drop(lake, decision.clone.pull_request)
            except PermanentError as error:
                failures[decision.clone.pull_request] = str(error)
    _log(decisions, failures, dry_run=arguments.dry_run)
    if failures:
        raise PermanentError("\n".join(f"pull request {number}: {why}" for number, why in failures.items()))
    dropped = {str(decision.clone.pull_request): decision.reason for decision in decisions if decision.drop}
    kept = {str(decision.clone.pull_request): decision.reason for decision in decisions if not decision.drop}
    return JobResult(facts={"dropped": dropped, "kept": kept, "dry_run": arguments.dry_run})


def _event(lake: Lake, github: GitHub, arguments: argparse.Namespace) -> JobResult:
    number, wanted = arguments.pr, {"opened": "open", "closed": "closed"}[arguments.event]
    state = github.state_of(number)
    if state is None:
        raise PermanentError(f"event {arguments.event} of pull request {number}: {arguments.repository} has no such pull request")
    if state != wanted:  # an old message, or one that was overtaken
        log.info("pull request %d is %s by now: nothing to do", number, state)
        return JobResult(facts={"pr": number, "event": arguments.event, "done": f"nothing: it is {state} by now"})
    done = "nothing: a dry run"
    if not arguments.dry_run:
        done = _drop(lake, number) if wanted == "closed" else _make(lake, number)
    log.info("pull request %d was %s: %s", number, arguments.event, done)
    return JobResult(facts={"pr": number, "event": arguments.event, "done": done})


def _drop(lake: Lake, number: int) -> str:
    removal = plan_clone_drop(lake, number)
    remove(lake, removal)
    return "nothing was there" if removal.nothing else f"removed {len(removal.tables)} tables, {len(removal.files)} files ({size(removal.bytes)})"


def _make(lake: Lake, number: int) -> str:
    return f"made {len(make_schemas(lake, suffix_of(number), {CLONE_PR: str(number)}))} schemas"


def _log(decisions: list[Decision], failures: dict[int, str], *, dry_run: bool) -> None:
    words = {True: "would drop" if dry_run else "dropped", False: "kept"}
    rows = [
        (one.clone.pull_request, one.clone.tables, size(one.clone.bytes), moment(one.clone.written), _word(one, failures, words), one.reason)
        for one in decisions
    ]
    text = table(("PR", "TABLES", "OWN FILES", "LAST WRITTEN", "DONE", "WHY"), rows, ("PR", "TABLES", "OWN FILES")) if rows else "there are no clones"
    log.info("%s\n%s", text, ", ".join(f"{count} {word}" for word, count in Counter(_word(one, failures, words) for one in decisions).items()))


def _word(decision: Decision, failures: dict[int, str], words: dict[bool, str]) -> str:
    return "failed" if decision.clone.pull_request in failures else words[decision.drop]
