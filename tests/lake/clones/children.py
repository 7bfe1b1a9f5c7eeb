"""A process that makes or drops a clone and dies at a chosen step by a real ``SIGKILL``."""

from __future__ import annotations

from multiprocessing.connection import Connection

from include.config.environments import current_environment
from include.lake.catalog import open_catalog
from include.lake.clones.create import create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.objects import LocalStore
from tests.lake.children import Steps, around


def run(properties: dict[str, str], verb: str, pull_request: int, kill_at: int | None, answer: Connection) -> None:
    """Answers with the number of steps when it lives."""
    environment = current_environment()
    lake = Lake(environment, open_catalog(environment.lake.catalog, properties))
    steps = Steps(kill_at)
    steps.watch()
    for name in ("create", "delete"):
        around(LocalStore, name, before=steps.tick, after=steps.tick)
    if verb == "create":
        create_clone(lake, pull_request)
    else:
        remove(lake, plan_clone_drop(lake, pull_request))
    answer.send(steps.count)
