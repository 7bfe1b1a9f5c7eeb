"""Which of Airflow's processes loads the plugins: they ask when they are loaded (``on_load``), and change what it does, each thing once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

SCHEDULER = "airflow.jobs.scheduler_job_runner"
"""Imported before plugins are loaded in the scheduler's process alone."""
_installed: set[tuple[type, str]] = set()


def is_api_server() -> bool:
    """Whether this process has made the API server: it alone imports that module before it loads plugins."""
    return "airflow.api_fastapi.app" in sys.modules


def install(owner: type, name: str, around: Callable[..., Callable[..., Any]]) -> None:
    """Puts ``around`` what a class of Airflow's does under that name; once, however often plugins are loaded."""
    if (owner, name) not in _installed:
        _installed.add((owner, name))
        setattr(owner, name, around(getattr(owner, name)))
