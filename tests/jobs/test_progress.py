"""The progress document: what a build writes is what waiting tasks, a resumed build and people read, whole at every moment."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.jobs.warehouse.progress import FINAL, ModelState, Progress, ProgressDocument
from include.operators.dbt import read_progress

STATE = ModelState("failed", 1.5, 20, "dim_user: 3 duplicates", ("unique_dim_user",))
states = st.builds(
    ModelState,
    state=st.sampled_from(["running", "success", "failed", "skipped", "retrying"]),
    seconds=st.floats(0, 1e6),
    rows=st.none() | st.integers(0, 2**62),
    message=st.text(max_size=50),
    failures=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)
documents = st.builds(
    ProgressDocument,
    run_key=st.text(min_size=1, max_size=30),
    attempt=st.integers(1, 9),
    finished=st.booleans(),
    selected=st.lists(st.text(max_size=30), max_size=5),
    nodes=st.dictionaries(st.text(max_size=30), states, max_size=5),
)


@given(documents)
def test_a_document_survives_being_stored(document: ProgressDocument) -> None:
    url = "memory://progress/document.json"
    document.write(url)
    assert ProgressDocument.read(url) == document


def test_on_disk_as_on_object_storage(tmp_path: Path) -> None:
    document = ProgressDocument("manual__2026-11-20T10:00:00+00:00", 2, True, ["model.p.a"], {"model.p.a": STATE})
    path = tmp_path / "warehouse" / "manual__2026-11-20T10:00:00+00:00.json"
    document.write(str(path))
    document.write("memory://progress/run.json")
    with fsspec.open("memory://progress/run.json", "rb") as stream:
        assert stream.read() == path.read_bytes()
    assert ProgressDocument.read(str(path)) == document
    assert list(path.parent.iterdir()) == [path]


def test_there_is_none_yet(tmp_path: Path) -> None:
    assert ProgressDocument.read(str(tmp_path / "none.json")) is None
    assert ProgressDocument.read("memory://progress/none.json") is None
    assert read_progress(str(tmp_path / "none.json")) is None


def test_the_operator_reads_what_the_job_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "run.json")
    ProgressDocument("run", 1, False, ["model.p.a"], {"model.p.a": STATE}).write(path)
    assert read_progress(path) == {
        "run_key": "run",
        "attempt": 1,
        "finished": False,
        "selected": ["model.p.a"],
        "nodes": {"model.p.a": {"state": "failed", "seconds": 1.5, "rows": 20, "message": "dim_user: 3 duplicates", "failures": ["unique_dim_user"]}},
    }


def test_final_states() -> None:
    assert sorted(FINAL) == ["failed", "skipped", "success"]


def test_updates_appear_within_a_second_and_the_end_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "run.json")
    progress = Progress(path, ProgressDocument("run", 1, selected=["a", "b"]))
    progress.start()
    first = ProgressDocument.read(path)
    assert first is not None
    assert (first.finished, first.nodes) == (False, {})
    progress.update("a", ModelState("success"))
    deadline = time.monotonic() + 10
    while "a" not in (ProgressDocument.read(path) or first).nodes:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    progress.update("b", STATE)
    progress.finish(finished=True)
    last = ProgressDocument.read(path)
    assert last is not None
    assert (last.finished, last.nodes) == (True, {"a": ModelState("success"), "b": STATE})


def test_a_store_that_is_away_for_a_moment_does_not_end_the_reports(tmp_path: Path) -> None:
    folder = tmp_path / "progress"
    path = str(folder / "run.json")
    progress = Progress(path, ProgressDocument("run", 1, selected=["a"]))
    progress.start()
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")  # every write fails
    progress.update("a", STATE)
    time.sleep(1.0)
    folder.unlink()
    deadline = time.monotonic() + 30
    while ProgressDocument.read(path) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    progress.finish(finished=True)
    stored = ProgressDocument.read(path)
    assert stored is not None
    assert stored.nodes == {"a": STATE}


def test_a_failed_attempt_does_not_call_itself_finished(tmp_path: Path) -> None:
    path = str(tmp_path / "run.json")
    progress = Progress(path, ProgressDocument("run", 1, selected=["a"]))
    progress.start()
    progress.finish(finished=False)
    stored = ProgressDocument.read(path)
    assert stored is not None
    assert not stored.finished


def test_a_reader_never_sees_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads report, one reads as fast as it can."""
    monkeypatch.setattr("include.jobs.warehouse.progress.WRITE_EVERY", 0.001)
    path = tmp_path / "run.json"
    names = [[f"model.p.m{thread}_{number}" for number in range(50)] for thread in range(8)]
    progress = Progress(str(path), ProgressDocument("run", 1, selected=sorted(name for some in names for name in some)))
    progress.start()

    def report(mine: list[str]) -> None:
        for name in mine:
            progress.update(name, ModelState("running", message="x" * 500))
            progress.update(name, ModelState("success", message="x" * 500))
            time.sleep(0.001)

    threads = [threading.Thread(target=report, args=(mine,)) for mine in names]
    for thread in threads:
        thread.start()
    seen = [0]
    while any(thread.is_alive() for thread in threads):
        seen.append(len(json.loads(path.read_bytes())["nodes"]))
    progress.finish(finished=True)
    assert seen == sorted(seen), "the document only grows"
    stored = ProgressDocument.read(str(path))
    assert stored is not None
    assert set(stored.nodes) == {name for some in names for name in some}
    assert {state.state for state in stored.nodes.values()} == {"success"}
