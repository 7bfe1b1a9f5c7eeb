"""Sends what lies in the outbox to MIT Learn, each course's events in order. Several may run at once; one that is killed loses nothing."""

from __future__ import annotations

import argparse
import asyncio
import time

import httpx
import psycopg

from include.config.environments import current_environment
from include.config.services import LearnSettings, learn_settings, outbox_dsn
from include.config.vocabulary import Environment
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.webhooks.addresses import BlockedAddressError
from include.jobs.openedx.webhooks.client import Client
from include.jobs.openedx.webhooks.lanes import Lanes
from include.jobs.openedx.webhooks.outbox import Outbox
from include.jobs.openedx.webhooks.retries import Policy
from include.jobs.openedx.webhooks.sender import Bounds, Sender, Tally

SAMPLE = 20
LONGEST_TIMEOUT = 45.0
"""Seconds: PostgreSQL and PgBouncer end a transaction that is idle for a minute, and with it the lock on the lane."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags; all times in seconds."""
    policy = Policy()
    parser.add_argument("--limit", type=_positive, help="attempts of this run at most (default: any number)")
    parser.add_argument("--seconds", type=float, default=240.0, help="no attempt begins later than this after the start; retries due earlier are waited for")
    parser.add_argument("--at-once", type=_positive, default=4, help="attempts at once, each of another course")
    parser.add_argument("--timeout", type=_timeout, default=30.0, help=f"of one attempt, whatever the receiver does; at most {LONGEST_TIMEOUT:g}")
    parser.add_argument("--attempts", type=_positive, default=policy.attempts, help="of one event, after which it is a dead letter")
    parser.add_argument("--deadline", type=float, default=policy.deadline, help="of one event, from the moment it was enqueued or replayed")
    parser.add_argument("--first-wait", type=float, default=policy.first_wait, help="after an event's first attempt; doubles with each")
    parser.add_argument("--longest-wait", type=float, default=policy.longest_wait, help="between two attempts of an event")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: 1 or more")
    return number


def _timeout(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise argparse.ArgumentTypeError(f"found {text}; allowed: more than 0, at most {LONGEST_TIMEOUT:g}")
    return seconds


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: what this run did, and what the outbox holds after it.

    Raises ``PermanentError`` when the target is an address that is not allowed or refuses the sender, ``TransientError`` when it, or
    the outbox, fails for everything.
    """
    settings, dsn = learn_settings(), outbox_dsn()
    policy = Policy(arguments.attempts, arguments.deadline, arguments.first_wait, arguments.longest_wait)
    bounds = Bounds(arguments.limit, arguments.seconds, arguments.at_once)
    started = time.monotonic()
    with Outbox(dsn) as outbox:
        tally = asyncio.run(_deliver(dsn, settings, arguments.timeout, policy, bounds))
        figures = outbox.figures()
    return JobResult(
        facts={
            **{name: tally[name] for name in ("attempts", "delivered", "duplicates", "retried", "died")},
            "died_ids": [str(claim.id) for claim in tally.died[:SAMPLE]],
            "pending": figures.pending,
            "oldest_pending_seconds": round(figures.oldest_pending_seconds),
            "dead_letters": figures.dead,
            "seconds": round(time.monotonic() - started, 3),
        }
    )


async def _deliver(dsn: str, settings: LearnSettings, timeout: float, policy: Policy, bounds: Bounds) -> Tally:
    public_only = current_environment().name is not Environment.LOCAL
    try:
        async with Client(settings, public_only=public_only, seconds=timeout, connections=bounds.at_once) as client, Lanes(dsn) as lanes:
            await client.check_target()
            return await Sender(lanes, client, policy, bounds).run()
    except BlockedAddressError as error:
        raise PermanentError(f"MIT_LEARN_BASE_URL: {error}") from error
    except httpx.ConnectError as error:
        raise TransientError(f"MIT_LEARN_BASE_URL: {error}") from error
    except psycopg.OperationalError as error:
        raise TransientError(f"the webhooks' outbox went away: {str(error).strip()}") from error
