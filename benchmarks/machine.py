"""What a figure depends on besides the code: the machine, who else works on it, and the versions installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

PACKAGES = (
    "apache-airflow-core",
    "apache-airflow-task-sdk",
    "apache-airflow-providers-airbyte",
    "astronomer-cosmos",
    "dbt-core",
    "dbt-trino",
    "pydantic",
    "pyyaml",
)
NOISE_SAMPLE = 1.0


@dataclass(frozen=True)
class Neighbours:
    """How busy others keep the machine: ``cores`` of it, averaged over a second in which the workload rests, and the 1-minute load."""

    cores: float
    load: float

    @property
    def noisy(self) -> bool:
        """Whether absolute figures taken now are worth little: more than a tenth of the machine is taken."""
        return self.cores > 0.1 * (os.cpu_count() or 1)


def neighbours() -> Neighbours:
    """Samples the machine for a second. Only meaningful while no program of the workload works."""
    before = _busy_seconds()
    begin = time.monotonic()
    time.sleep(NOISE_SAMPLE)
    return Neighbours(round((_busy_seconds() - before) / (time.monotonic() - begin), 2), round(os.getloadavg()[0], 1))


def _busy_seconds() -> float:
    """CPU seconds that the machine's cores have worked, or were taken by the host, since boot."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def cpu_seconds(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """CPU seconds of each process and of its children, also of those that have ended and were waited for; by process id."""
    found: dict[int, float] = {}
    for process in processes:
        try:
            for one in (process, *process.children(recursive=True)):
                times = one.cpu_times()
                found[one.pid] = times.user + times.system + getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        except psutil.NoSuchProcess:
            continue
    return found


def describe() -> dict[str, object]:
    """The machine and the versions, for the result file."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def as_json(found: Neighbours) -> dict[str, object]:
    """For the result file."""
    return {**asdict(found), "noisy": found.noisy}
