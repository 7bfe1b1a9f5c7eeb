"""A platform of a workload's own: a copy of the code, a fresh state, DAG files of the workload's choice; gone afterwards."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.repository import copy_code
from include.local.airflow_api import TERMINAL, AirflowApi
from include.local.paths import Paths
from include.local.platform import Part, Platform, running_platform

STOCK = """# Airflow's defaults; without a user nobody could trigger anything, and examples would be parsed all the time
[core]
load_examples = False
simple_auth_manager_users = admin:admin

[api]
host = 127.0.0.1
"""


@dataclass(frozen=True)
class Timed:
    """One DAG run: seconds from the client's request to the end that Airflow recorded, and the run as the API tells it."""

    seconds: float
    run: dict[str, Any]

    @property
    def state(self) -> str:
        """Airflow's word for how it ended, or where it stands."""
        return str(self.run["state"])

    @property
    def run_id(self) -> str:
        """The run's id."""
        return str(self.run["dag_run_id"])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ol-bench-") as folder:
        yield Path(folder).resolve()


@contextmanager
def own_platform(folder: Path, dags: Mapping[str, str], parts: Sequence[Part], prepare: Callable[[Path], None] | None = None) -> Iterator[Platform]:
    """A running platform over a copy of the code in ``folder/code``, its state in ``folder/state``.

    ``prepare`` may change the copy before anything starts. An existing state is used as it is, so that two platforms can follow each
    other over one lake; :func:`remove` deletes it.
    """
    code = copy_code(folder / "code", dags)
    if prepare:
        prepare(code)
    with running_platform(Paths(root=code, state=folder / "state"), parts, out=sys.stderr) as platform:
        yield platform


def remove(folder: Path) -> None:
    """Ends and deletes the platform whose state lies in ``folder/state``."""
    if (folder / "state").exists():
        Platform(Paths(state=folder / "state"), ("lake",)).clean()


def api_of(platform: Platform) -> AirflowApi:
    """A client of the platform's Airflow."""
    return AirflowApi(platform.airflow_url, *platform.airflow_login)


def timed_run(api: AirflowApi, dag_id: str, *, bound: float, every: float = 0.1) -> Timed:
    """Triggers a run and waits for its end, at most ``bound`` seconds; a run that takes longer is returned as it stands then.

    The end is the one that Airflow recorded, so how often we ask does not add to it; the clock is the same machine's.
    """
    begin = time.time()
    run_id = api.trigger(dag_id)
    while True:
        time.sleep(every)
        run = api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        if run["state"] in TERMINAL:
            return Timed(stamp(run["end_date"]) - begin, run)
        if time.time() - begin > bound:
            return Timed(time.time() - begin, run)


def stamp(text: str) -> float:
    """Seconds since the epoch of one of the API's times."""
    return datetime.fromisoformat(text).timestamp()
