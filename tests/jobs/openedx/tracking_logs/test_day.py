"""A generated day, read twice."""
from __future__ import annotations

from datetime import date
from pathlib import Path

from include.jobs.openedx.tracking_logs.reading import read_blocks
from include.local.data.openedx_logs import invented_roster, write_day

from .compare import compare


def test_a_second_reading_agrees_event_by_event(tmp_path: Path) -> None:
    logs = write_day(tmp_path, invented_roster("mitxonline", seed=7, learners=200), date(2026, 3, 2), seed=7, events=20000, large_line=True, awkward=.05)
    e = r = 0
    for path in logs.files:
        with path.open("rb") as stream:
            ev, re_, bl = compare(read_blocks(stream, path.name, gzip=True))
            e += ev; r += re_
    assert e == logs.events
    assert r == logs.broken.total()
    print(logs.awkward, logs.broken)
