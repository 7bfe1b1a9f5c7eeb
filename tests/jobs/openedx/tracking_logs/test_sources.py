"""Which objects are a day's, when they have stopped growing, and which are the same."""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import pytest

from include.contract import TransientError
from include.jobs.openedx.tracking_logs.sources import Prefix, Source, check_unchanged, day_of, settled, without_copies
from include.jobs.openedx.tracking_logs.workers import share_out

from .conftest import DAY

HOUR_AGO = time.time() - 3600


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("tracking.log-2026-03-02-edxapp-1.gz", DAY),
        ("tracking.log-20260302-1772409600.gz", DAY),
        ("2026-03-02/tracking.log", DAY),
        ("2026-03-01/late/tracking.log-2026-03-02.gz", DAY),
        ("a-2026-03-02--2026-03-03.gz", date(2026, 3, 3)),
        ("a-2026-03-022.gz", None),
        ("a-12026-03-02.gz", None),
        ("a-2026-02-30.gz", None),
        ("a-2026-0302.gz", None),
        ("a.gz", None),
    ],
)
def test_an_object_belongs_to_the_last_day_that_it_names(name: str, day: date | None) -> None:
    assert day_of(name) == day


def test_names_are_names(tmp_path: Path) -> None:
    """A6-2: quotes, semicolons, comment signs and patterns are letters like others, and select nothing else."""
    names = ["x' OR '1'='1 2026-03-02.log", 'a";--2026-03-02.log', "b* 2026-03-02?.log", "deep/[c] 2026-03-02.log", "%2e%2e 2026-03-02 #é.log"]
    for name in [*names, "x 2026-03-03.log"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = Prefix(str(tmp_path)).list(DAY)
    assert sorted(source.name for source in found) == sorted(names)
    fs, _ = Prefix(str(tmp_path)).open()
    for source in found:
        with fs.open(source.path, "rb") as stream:
            assert stream.read() == b"x"


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"x")


def test_days_are_listed_together(tmp_path: Path) -> None:
    names = {date(2026, 3, 1): ["2026-03-01.log"], DAY: ["2026-03-01/late/2026-03-02.log", "a/20260302.log"], date(2026, 3, 3): []}
    put(tmp_path, *(name for found in names.values() for name in found), "2026-03-04.log", "none.log")
    found = Prefix(str(tmp_path)).by_day(names)
    assert {day: [source.name for source in sources] for day, sources in found.items()} == names
    assert found[DAY] == Prefix(str(tmp_path)).list(DAY)


@pytest.mark.parametrize("folder", ["%Y-%m-%d", "logs/day=%Y%m%d"])
def test_a_days_folder_alone_is_listed(tmp_path: Path, folder: str) -> None:
    """Where the unit says that a day has one: what lies elsewhere is not looked at."""
    names = [f"{DAY.strftime(folder)}/{name}" for name in ("1.log", "deep/2.log")]
    put(tmp_path, *names, f"{date(2026, 3, 3).strftime(folder)}/3.log", "elsewhere/2026-03-02.log")
    prefix = Prefix(str(tmp_path), folder)
    assert [source.name for source in prefix.list(DAY)] == names
    assert [len(sources) for sources in prefix.by_day([date(2026, 3, day) for day in (1, 2, 3)]).values()] == [0, 2, 1]


def test_an_absent_prefix_has_no_objects(tmp_path: Path) -> None:
    assert Prefix(str(tmp_path / "nowhere")).list(DAY) == ()


def test_old_objects_are_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "2026-03-02.log"
    path.write_bytes(b"x")
    os.utime(path, (HOUR_AGO, HOUR_AGO))
    begin = time.monotonic()
    assert len(settled(lambda: Prefix(str(tmp_path)).list(DAY), interval=30, patience=60)) == 1
    assert time.monotonic() - begin < 30


def test_a_growing_object_is_waited_for(tmp_path: Path) -> None:
    """R-9: until size and tag are the same for the interval."""
    path = tmp_path / "2026-03-02.log"
    path.write_bytes(b"x")

    growths = iter(range(6))

    def listed() -> tuple[Source, ...]:
        if next(growths, None) is not None:
            with path.open("ab") as stream:
                stream.write(b"x")
        return Prefix(str(tmp_path)).list(DAY)

    (found,) = settled(listed, interval=0.1, patience=60)
    assert found.size == 7


def test_one_that_never_stops_is_given_up(tmp_path: Path) -> None:
    numbers = iter(range(1, 100))
    with pytest.raises(TransientError, match=r"a went from \d to \d bytes"):
        settled(lambda: (Source("a", "a", next(numbers), ""),), interval=0.01, patience=0.05)


def test_what_changed_meanwhile_is_told() -> None:
    read = (Source("a", "a", 1, "t1"), Source("b", "b", 1, "t1"))
    check_unchanged(read, (*read, Source("c", "c", 1, "t1")))
    with pytest.raises(TransientError, match="a went from 1 to 1 bytes"):
        check_unchanged(read, (Source("a", "a", 1, "t2"), read[1]))
    with pytest.raises(TransientError, match="b is gone"):
        check_unchanged(read, read[:1])


def test_copies_are_found_by_their_bytes(tmp_path: Path) -> None:
    for name, data in {"1": b"same", "2": b"diff", "3": b"same", "4": b"", "5": b"", "6": b"longer"}.items():
        (tmp_path / f"2026-03-02-{name}").write_bytes(data)
    prefix = Prefix(str(tmp_path))
    kept, copies = without_copies(prefix, prefix.list(DAY))
    assert [source.name[-1] for source in kept] == ["1", "2", "4", "5", "6"]
    assert copies == {"2026-03-02-3": "2026-03-02-1"}


def test_work_is_shared_out_by_size() -> None:
    sources = [Source(str(size), str(size), size, "") for size in (5, 90, 40, 30, 25)]
    assert [sorted(source.size for source in part) for part in share_out(sources, 2)] == [[5, 90], [25, 30, 40]]
    assert [len(part) for part in share_out(sources[:1], 4)] == [1]
    assert share_out([], 2) == []
