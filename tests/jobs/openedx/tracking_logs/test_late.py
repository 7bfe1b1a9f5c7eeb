"""Log files that come after their day was loaded: the day's own run when it is cleared, and the daily run that looks back."""

from __future__ import annotations

import json
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import current_environment
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.tracking_logs import day as day_module
from include.jobs.openedx.tracking_logs.history import made_of
from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.table import ensure_logs_table, table_of
from include.lake.writes import WriteResult, overwrite_partition

from .conftest import DAY, Deployment, event

LINES = b"".join(event(number) for number in range(40))
NEXT = DAY + timedelta(days=1)


def before(days: int) -> date:
    return DAY - timedelta(days=days)


def load(deployment: Deployment, *days: date) -> None:
    """Each day with a log file of 40 events, loaded by its own run."""
    for day in days:
        deployment.put(f"{day}-a.log.gz", LINES)
        deployment.run(f"run:{day}", day=day)


def look_back(deployment: Deployment, *more: str, key: str = f"run:{NEXT}", days: int = 7) -> JobResult:
    """The next day's daily run."""
    if not list(deployment.source.glob(f"{NEXT}*")):
        deployment.put(f"{NEXT}-a.log.gz", LINES)
    return deployment.run(key, "--look-back-days", str(days), *more, day=NEXT)


def rows_of(deployment: Deployment, *days: date) -> list[dict[str, Any]]:
    """Whole rows, with the time at which they were read: of a day that was written again they are others."""
    return [row for row in deployment.rows() if row["log_day"] in days]


def events_of(deployment: Deployment, day: date) -> int:
    return len(rows_of(deployment, day))


def test_a_cleared_run_takes_in_what_came_since(deployment: Deployment) -> None:
    """The same run id: its day is written again, with all events, and no other day."""
    days = [before(2), before(1), DAY]
    load(deployment, *days)
    others = rows_of(deployment, before(2), DAY)
    deployment.put(f"late/{days[1]}-x.log.gz", event(200))
    again = deployment.run(f"run:{days[1]}", day=days[1])
    assert (again.facts["repeated"], again.facts["events"], deployment.commits) == (False, 41, 4)
    assert rows_of(deployment, before(2), DAY) == others
    assert [row["username"] for row in rows_of(deployment, days[1])] == [*(f"user_{number}" for number in range(40)), "user_200"]
    rows, landed = deployment.rows(), deployment.landed("*.*")
    repeated = deployment.run(f"run:{days[1]}", day=days[1])
    assert (repeated.facts["repeated"], repeated.facts["events"], deployment.commits) == (True, 41, 4)
    assert (deployment.rows(), deployment.landed("*.*")) == (rows, landed)
    (told,), (written,) = repeated.tables.values(), again.tables.values()
    assert (told.snapshot_id, told.run_key) == (written.snapshot_id, written.run_key)
    assert repeated.links == again.links


@pytest.mark.parametrize("change", ["grew", "went", "other tag"])
def test_a_cleared_run_looks_at_name_size_and_tag(deployment: Deployment, change: str) -> None:
    paths = [deployment.put(f"{DAY}-{name}.log", event(number)) for number, name in enumerate("ab")]
    deployment.run("run:1")
    if change == "grew":
        paths[1].write_bytes(event(1) + event(2))
    elif change == "went":
        paths[1].unlink()
    else:
        os.utime(paths[1], ns=(1, 1))
    assert deployment.run("run:1").facts["repeated"] is False
    assert events_of(deployment, DAY) == {"grew": 3, "went": 1, "other tag": 2}[change]
    assert deployment.run("run:1").facts["repeated"] is True
    assert deployment.commits == 2


def test_files_that_come_go_and_come_again_under_one_run(deployment: Deployment) -> None:
    """A key of earlier does not stand for what the partition holds now."""
    load(deployment, DAY)
    late, aside = deployment.put(f"{DAY}-b.log", event(99)), deployment.source.parent / "aside"
    for number, events in enumerate([41, 40, 41, 40]):
        assert deployment.run(f"run:{DAY}").facts["events"] == events == events_of(deployment, DAY)
        assert deployment.run(f"run:{DAY}").facts["repeated"] is True
        assert deployment.commits == number + 2
        late, aside = aside, late
        aside.rename(late) if aside.exists() else late.rename(aside)


def test_what_is_left_out_makes_a_run_another_one(deployment: Deployment) -> None:
    load(deployment, DAY)
    deployment.put(f"{DAY}-b.log", event(99))
    assert deployment.run(f"run:{DAY}", "--leave-out", f"{DAY}-b.log").facts["repeated"] is False
    assert deployment.run(f"run:{DAY}", "--leave-out", f"{DAY}-b.log").facts["repeated"] is True
    assert events_of(deployment, DAY) == 40
    assert deployment.run(f"run:{DAY}").facts["events"] == 41


def test_the_daily_run_takes_in_late_files_of_the_days_before(deployment: Deployment) -> None:
    """Within the look-back, each into its own partition; a day outside and days without news stay untouched."""
    days = [before(number) for number in range(8, -1, -1)]
    load(deployment, *days)
    outside, inside, oldest = before(7), before(3), before(6)  # of the next day: 8, 4 and 7 days before it
    for number, day in enumerate((outside, inside, oldest)):
        deployment.put(f"late/{day}-x.log.gz", event(200 + number))
    others = rows_of(deployment, *(day for day in days if day not in (inside, oldest)))
    result = look_back(deployment)
    assert {day: facts["events"] for day, facts in result.facts["late"].items()} == {str(oldest): 41, str(inside): 41}
    (table,) = result.tables.values()
    assert (table.extra["day"], table.extra["events"], table.extra["late_days"], table.rows) == (str(NEXT), 40, f"{oldest} {inside}", 402)
    assert table.snapshot_id == deployment.catalog.load_table(deployment.identifier).metadata.current_snapshot_id
    assert rows_of(deployment, *(day for day in days if day not in (inside, oldest))) == others
    assert [events_of(deployment, day) for day in (outside, inside, oldest, NEXT)] == [40, 41, 41, 40]
    commits = deployment.commits
    assert commits == len(days) + 3
    assert look_back(deployment).facts["repeated"] is True
    assert list(look_back(deployment).facts["late"]) == [str(oldest), str(inside)], "what an earlier attempt has done is told, too"
    assert look_back(deployment, key="run:another", days=0).facts["late"] == {}
    assert deployment.commits == commits + 1
    wider = look_back(deployment, days=8)
    assert list(wider.facts["late"]) == [str(outside), str(oldest), str(inside)]
    assert (wider.facts["repeated"], events_of(deployment, outside)) == (True, 41)


def test_a_day_whose_files_all_come_late_is_loaded_but_none_before_the_first(deployment: Deployment) -> None:
    with pytest.raises(TransientError, match="no log file of the day"):
        deployment.run(f"run:{DAY}", day=DAY)
    assert look_back(deployment).facts["late"] == {}
    for day in (before(1), DAY):
        deployment.put(f"{day}-a.log.gz", LINES)
    assert list(look_back(deployment, "--first-day", str(DAY)).facts["late"]) == [str(DAY)]
    assert [events_of(deployment, day) for day in (before(1), DAY, NEXT)] == [0, 40, 40]


def test_days_before_have_their_turn_when_the_day_itself_fails(deployment: Deployment) -> None:
    load(deployment, DAY)
    deployment.put(f"{DAY}-b.log", event(99))
    with pytest.raises(TransientError, match="no log file of the day; allowed: at least one object with 2026-03-03"):
        deployment.run("run:next", "--look-back-days", "7", day=NEXT)
    assert events_of(deployment, DAY) == 41


def test_looking_back_reads_no_log_file(deployment: Deployment) -> None:
    """Rubbish of the same size under the same time goes unnoticed; a copy of it under a new time does not."""
    load(deployment, before(1), DAY)
    for day in (before(1), DAY):
        path = deployment.source / f"{day}-a.log.gz"
        facts = path.stat()
        with path.open("r+b") as stream:
            stream.write(b"\0" * facts.st_size)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    rows = rows_of(deployment, before(1), DAY)
    assert look_back(deployment).facts["late"] == {}
    os.utime(path, ns=(1, 1))
    with pytest.raises(PermanentError, match=f"{NEXT} is loaded, but not all log files that came late for days before it:\n{DAY}: 1 log files cannot be read"):
        look_back(deployment)
    assert rows_of(deployment, before(1), DAY) == rows


def test_late_files_that_are_refused_fail_one_run_not_all(deployment: Deployment) -> None:
    """The day before stays as it was, the run's own day is loaded, and the bad file is tried again when it was delivered again."""
    load(deployment, DAY)
    rows = rows_of(deployment, DAY)
    bad = deployment.put(f"{DAY}-b.log.gz", event(99)[:50], packed=False)
    with pytest.raises(PermanentError, match=r"-b\.log\.gz: no whole gzip stream"):
        look_back(deployment)
    assert (events_of(deployment, NEXT), deployment.commits) == (40, 2)
    again = look_back(deployment)
    assert (again.facts["repeated"], again.facts["late"]) == (True, {})
    assert "2026-03-02-b.log.gz: no whole gzip stream" in again.facts["not_opened"][str(DAY)]
    assert (rows_of(deployment, DAY), deployment.commits) == (rows, 2)
    with pytest.raises(PermanentError, match=r"-b\.log\.gz: no whole gzip stream"):
        deployment.run(f"run:{DAY}")
    deployment.put(bad.name, event(99))
    assert list(look_back(deployment).facts["late"]) == [str(DAY)]
    assert events_of(deployment, DAY) == 41


def test_what_was_left_out_stays_out_until_it_is_delivered_again(deployment: Deployment) -> None:
    deployment.put(f"{DAY}-a.log", event(1))
    deployment.put(f"{DAY}-b.log.gz", b"lost", packed=False)
    deployment.run("run:1", "--leave-out", f"{DAY}-b.log.gz")
    assert look_back(deployment).facts["late"] == {}, "that it is there is no news"
    deployment.put(f"{DAY}-c.log", event(3))
    assert look_back(deployment).facts["late"][str(DAY)]["events"] == 2
    deployment.put(f"{DAY}-b.log.gz", event(2))
    assert look_back(deployment).facts["late"][str(DAY)]["events"] == 3


def test_events_do_not_go_by_themselves_with_their_files(deployment: Deployment) -> None:
    """As a bucket's rule removes them; a person may say so by clearing the run."""
    load(deployment, before(1), DAY)
    (deployment.source / f"{before(1)}-a.log.gz").unlink()
    deployment.put(f"{DAY}-b.log", event(99)).rename(deployment.source / "aside")
    deployment.put(f"{DAY}-c.log", event(98))
    assert list(look_back(deployment).facts["late"]) == [str(DAY)]
    (deployment.source / f"{DAY}-a.log.gz").unlink()
    result = look_back(deployment)
    assert f"log files are gone and none came: {DAY}-a.log.gz" in result.facts["not_opened"][str(DAY)]
    assert [events_of(deployment, day) for day in (before(1), DAY)] == [40, 41]
    deployment.run(f"run:{DAY}")
    assert events_of(deployment, DAY) == 1


def test_empty_files_are_written_once(deployment: Deployment) -> None:
    """A day without rows has its manifest all the same."""
    deployment.put(f"{DAY}-a.log", b"")
    deployment.run("run:1")
    assert look_back(deployment).facts["late"] == {}
    deployment.put(f"{DAY}-b.log", b"")
    assert list(look_back(deployment).facts["late"]) == [str(DAY)]
    manifests = deployment.landed("*.manifest.json")
    assert look_back(deployment, key="run:other").facts["late"] == {}
    assert len(deployment.landed("*.manifest.json")) == len(manifests) + 1, "that of the other run's own day"


def test_a_manifest_without_its_commit_is_not_believed(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run leaves one that ends between the two: the day still counts as what the table holds."""
    load(deployment, DAY)
    deployment.put(f"{DAY}-b.log", event(99))

    def ends(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(day_module, "replace_by_files", ends)
        with pytest.raises(KeyboardInterrupt):
            deployment.run(f"run:{DAY}")
    manifests = [json.loads(path.read_bytes())["events"] for path in deployment.landed("*.manifest.json")]
    assert sorted(manifests) == [40, 41]
    assert events_of(deployment, DAY) == 40
    assert list(look_back(deployment).facts["late"]) == [str(DAY)]
    assert events_of(deployment, DAY) == 41


def test_maintenance_and_manifests_of_before(deployment: Deployment) -> None:
    """Rows that are moved into other files are the same write; of a day whose manifest says less than today's nobody knows: it is written once more."""
    load(deployment, DAY)
    table = ensure_logs_table(deployment.catalog, table_of(current_environment(), deployment.name))
    overwrite_partition(table, table.scan().to_arrow(), f"log_day = '{DAY}'", "maintenance")
    made = made_of(table, Landing(str(deployment.landing), deployment.name, DAY))
    assert made
    assert (list(made.states), made.run_key, made.events) == ([f"{DAY}-a.log.gz"], f"run:{DAY}", 40)
    assert look_back(deployment).facts["late"] == {}
    (path,) = Path(deployment.landing).rglob(f"{DAY}/*.manifest.json")
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_bytes()).items() if key not in ("listed", "retrieved_at")}))
    assert list(look_back(deployment).facts["late"]) == [str(DAY)]
    assert look_back(deployment, key="run:other").facts["late"] == {}


def test_two_attempts_that_live_at_the_same_time_commit_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """One was given up but goes on, and is faster: under one run and of the same files both writes have one key."""
    load(deployment, DAY)
    deployment.put(f"{DAY}-b.log", event(99))
    commit = day_module.replace_by_files
    faster: list[JobResult] = []

    def overtaken(*arguments: Any) -> WriteResult:
        monkeypatch.setattr(day_module, "replace_by_files", commit)
        faster.append(deployment.run(f"run:{DAY}"))
        return commit(*arguments)

    monkeypatch.setattr(day_module, "replace_by_files", overtaken)
    slower = deployment.run(f"run:{DAY}")
    assert (events_of(deployment, DAY), deployment.commits) == (41, 2)
    (one,), (other,) = faster[0].tables.values(), slower.tables.values()
    assert (one.snapshot_id, one.run_key) == (other.snapshot_id, other.run_key)
    assert deployment.run(f"run:{DAY}").facts["repeated"] is True
