"""An outbox in the session's PostgreSQL, a receiver on a real socket, and the jobs between them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from include.config.files import ROOT
from include.jobs.__main__ import JOBS
from include.jobs.openedx.webhooks.events import Event, content_files_event
from include.jobs.openedx.webhooks.outbox import Outbox
from include.local.services.learn.store import Applied
from tests.local.services.learn_harness import Learn, variable

QUICK = ("--first-wait", "0.02", "--longest-wait", "0.1", "--timeout", "15", "--seconds", "60")


def course(number: int) -> str:
    return f"course-v1:MITxT+6.{number:03}x+1T2026"


def event(number: int = 1, version: int = 1) -> Event:
    """The event of one version of a course."""
    path = f"mitxonline/openedx/raw_data/course_xml/{course(number)}/{version:064x}.xml.tar.gz"
    return content_files_event(course_id=course(number), content_path=path, source="mitxonline", run_key=f"{course(number)}@{version}")


def version_of(body: bytes) -> tuple[str, int]:
    """Course and version that a body tells of."""
    told = json.loads(body)
    return told["course_id"], int(told["content_path"].rpartition("/")[2].partition(".")[0], 16)


def per_course(applied: Iterable[Applied]) -> dict[str, list[int]]:
    """Versions by course, in the order in which they took effect."""
    found: dict[str, list[int]] = defaultdict(list)
    for item in applied:
        name, version = version_of(item.body)
        found[name].append(version)
    return dict(found)


def run_job(name: str, *flags: str) -> dict[str, Any]:
    """A job in this process, as its entry point runs it; its facts."""
    module = importlib.import_module(JOBS[name])
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return dict(module.run(parser.parse_args(flags)).facts)


def start_job(folder: Path, name: str, *flags: str, entry: Iterable[str] = ("include.jobs",)) -> subprocess.Popen[bytes]:
    """A job as a program of its own; its log and its result lie in ``folder``."""
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", *entry, name, "--result", str(folder / "result.json"), *flags]
        return subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log)


@dataclass
class World:
    """One test's outbox and receiver, both empty."""

    dsn: str
    learn: Learn
    patch: pytest.MonkeyPatch

    def keys(self, *ids: str) -> None:
        """What the sender signs with."""
        self.patch.setenv("MIT_LEARN_WEBHOOK_KEYS", variable(*ids))

    def enqueue(self, *events: Event) -> list[bool]:
        with Outbox(self.dsn) as outbox:
            return [outbox.enqueue(one) for one in events]

    def deliver(self, *flags: str) -> dict[str, Any]:
        return run_job("webhook-deliver", *QUICK, *flags)

    def row(self, one: Event) -> dict[str, Any]:
        (found,) = self.rows("SELECT * FROM webhooks.events WHERE id = %s", [one.id])
        return found

    def states(self, *events: Event) -> list[str]:
        return [self.row(one)["state"] for one in events]

    def rows(self, query: str, values: Any = ()) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def execute(self, statement: str, values: Any = ()) -> None:
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement.encode(), values)
