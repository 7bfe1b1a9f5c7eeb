"""Which of Airflow's processes loads the plugins: they ask when they are loaded (``on_load``)."""

from __future__ import annotations

import sys


def is_api_server() -> bool:
    """Whether this process has made the API server: it alone imports that module before it loads plugins."""
    return "airflow.api_fastapi.app" in sys.modules
