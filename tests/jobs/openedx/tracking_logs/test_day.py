"""Generated days, read twice: by the product and by a second reading that shares nothing with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.jobs.openedx.tracking_logs.reading import read_blocks
from include.local.data.openedx_awkward import BROKEN, SHAPES
from include.local.data.openedx_logs import invented_roster, write_day

from .compare import compare
from .conftest import DAY, EVENTS, asked


def test_a_second_reading_agrees_event_by_event(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A6-1: event and context each from itself, in every event. By default with more awkward lines than the issue asks for, so that all kinds are there."""
    events = asked(request.config, EVENTS, 12_000)
    awkward = 0.01 if events > 100_000 else 0.08
    roster = invented_roster("mitxonline", seed=7, learners=max(100, events // 100))
    logs = write_day(tmp_path, roster, DAY, seed=7, events=events, files=2, awkward=awkward, large_line=True)
    counts = [0, 0, 0]
    for path in logs.files:
        with path.open("rb") as stream:
            for place, count in enumerate(compare(read_blocks(stream, path.name, gzip=True))):
                counts[place] += count
    assert counts == [logs.events, logs.broken.total(), 0]
    assert logs.awkward.keys() == {*SHAPES, "10 MB"}
    assert logs.broken.keys() == BROKEN.keys()
