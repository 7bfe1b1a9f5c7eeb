"""Airflow's pools: those of the environment, and one for each Open edX deployment that bounds its exports.

``python -m include.config.pools`` prints them as ``airflow pools import`` reads them: a task that names a pool which is not there waits for ever.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TextIO

from include.config.environments import EnvironmentSettings, current_environment
from include.config.load import load_units_strictly


@dataclass(frozen=True)
class Pool:
    """``include_deferred``: whether a task holds its slot while it waits in the triggerer."""

    name: str
    slots: int
    description: str
    include_deferred: bool = False


def pools_of(environment: EnvironmentSettings) -> tuple[Pool, ...]:
    """All pools of an environment. Raises ``ConfigError`` for a broken unit."""
    found = [Pool(name, slots, "from environments.yml") for name, slots in environment.pools.items()]
    for unit in load_units_strictly("openedx", environment):
        found.append(Pool(unit.export_pool, unit.export_slots, f"exports that Studio of {unit.id} builds at a time", include_deferred=True))
    return tuple(found)


def main(out: TextIO = sys.stdout) -> int:
    """Prints the pools of this process's environment as JSON."""
    pools = pools_of(current_environment())
    data = {pool.name: {"slots": pool.slots, "description": pool.description, "include_deferred": pool.include_deferred} for pool in pools}
    out.write(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
