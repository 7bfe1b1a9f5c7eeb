"""Which log files a day's partition was made of, told without reading any: from the manifests in the landing zone and the table's metadata.

All rows of one write have the same ``retrieved_at``, which the manifest of that write names and the table's metadata tell as the bounds of
that column, also after maintenance has merged files. So the moment leads from a partition to its manifest. The newest manifest may be
another one: a run that is killed before its commit leaves one behind, and so does a write that the table was rolled back from. Run keys are no
way either: the table forgets them, and a key says that something was written, not that it is still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from pyiceberg.table import Table
from pyiceberg.utils.datetime import micros_to_timestamptz

from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.sources import States


@dataclass(frozen=True)
class Written:
    """One write of a day: the listing that it was made of, the names of that which were left out, whose it was, its events and its manifest's address."""

    states: States
    left_out: frozenset[str]
    run_key: str
    events: int
    manifest: str

    def still_left_out(self, now: States) -> frozenset[str]:
        """What was left out and has not been delivered again since."""
        return frozenset(name for name in self.left_out if now.get(name) == self.states.get(name))


def listed(states: States) -> dict[str, list[Any]]:
    """A listing as manifests and refusals have it."""
    return {name: list(state) for name, state in sorted(states.items())}


def made_of(table: Table, landing: Landing) -> Written | None:
    """What the day's partition was made of; nothing for a day that was never written, or whose rows no manifest names.

    ``table`` as it was loaded: refresh it before to see later commits.
    """
    moments = _moments(table, landing.day)
    known = {address: manifest for address, manifest in landing.manifests().items() if "retrieved_at" in manifest}  # older ones do not say it
    if moments:
        mine = [(address, manifest) for address, manifest in known.items() if {manifest["retrieved_at"]} == moments]
    else:  # files without events leave no rows and no moment: the last of the manifests that say so
        mine = sorted(((address, one) for address, one in known.items() if not one["events"]), key=lambda item: str(item[1]["retrieved_at"]))
    if not mine:
        return None
    address, manifest = mine[-1]
    return Written(_states(manifest), frozenset(manifest["left_out"]), manifest["run_key"], manifest["events"], address)


def refusal_of(landing: Landing, states: States) -> str | None:
    """Why the day was refused with exactly these files before, or nothing."""
    return next((str(refusal["reason"]) for refusal in landing.refusals().values() if _states(refusal) == states), None)


def _states(document: dict[str, Any]) -> States:
    return {name: (int(size), str(tag)) for name, (size, tag) in document["listed"].items()}


def _moments(table: Table, day: date) -> set[str | None]:
    """First and last ``retrieved_at`` of each data file of the partition: one moment when one write made it. A file without bounds has ``None``."""
    number = table.schema().find_field("retrieved_at").field_id
    found: set[str | None] = set()
    for task in table.scan(row_filter=f"log_day = '{day}'").plan_files():
        for bounds in (task.file.lower_bounds, task.file.upper_bounds):
            raw = (bounds or {}).get(number)
            found.add(None if raw is None else micros_to_timestamptz(int.from_bytes(raw, "little", signed=True)).isoformat(timespec="microseconds"))
    return found
