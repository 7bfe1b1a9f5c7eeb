"""A course run's structure from the LMS to landing objects and rows."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.config.files import ROOT
from include.contract import JobResult, PermanentError
from include.jobs.openedx.courses.structure import block_rows, structure_row
from include.jobs.openedx.documents import job
from include.jobs.openedx.documents.tables import BLOCKS, STRUCTURE, StructureTables, table_of
from include.local.services.openedx import content
from tests.openedx_service import Service

START = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def course(service: Service) -> Iterator[str]:
    """A run that no other test has fetched."""
    service.clear()
    yield _unused.pop()
    service.clear()


_unused = [f"course-v1:MITxT+14.310x+{tag}" for tag in ("2T2024", "3T2024", "1T2025", "2T2025", "3T2025", "1T2026", "2T2026")]
_unused += [f"course-v1:MITxT+6.313x+{tag}" for tag in ("2T2024", "3T2024", "1T2025", "2T2025", "3T2025", "1T2026", "2T2026")]


def arguments(service: Service, folder: Path, course: str, **changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    flags = {"deployment": "mitxonline", "course": course, "lms": service.lms, "landing": str(folder / "landing"), "run-key": folder.name, **changes}
    return parser.parse_args([f"--{name}={value}" for name, value in flags.items()])


def rows(catalog: Catalog, part: str, course: str) -> list[dict[str, Any]]:
    table = catalog.load_table(table_of(current_environment(), "mitxonline", part).identifier)
    return [row for row in table.scan().to_arrow().to_pylist() if row["course_id"] == course]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "landing").rglob("*") if path.is_file())


def test_a_structure_becomes_objects_and_rows(service: Service, openedx_lake: Catalog, tmp_path: Path, course: str) -> None:
    result = job.run(arguments(service, tmp_path, course))
    digest = result.facts["content_hash"]
    processed = tmp_path / "landing" / "mitxonline" / "openedx" / "processed_data"
    blocks_file, structure_file = (processed / part / course / f"{digest}.json" for part in (BLOCKS, STRUCTURE))
    assert files(tmp_path) == [blocks_file, structure_file]
    run = service.store.run(course)
    assert run is not None
    document = content.structure_of(run)
    (row,) = rows(openedx_lake, STRUCTURE, course)
    assert json.loads(row["course_structure"]) == document
    assert (row["content_hash"], json.loads(structure_file.read_text())["content_hash"]) == (digest, digest)
    blocks = rows(openedx_lake, BLOCKS, course)
    assert {block["block_id"] for block in blocks} == document.keys()
    assert sorted(block["block_index"] for block in blocks) == list(range(1, len(document) + 1))
    assert len(blocks_file.read_text().splitlines()) == len(document) == result.facts["blocks"]
    assert {block["retrieved_at"] for block in blocks} == {row["retrieved_at"]}
    assert abs(datetime.now(UTC) - row["retrieved_at"]) < timedelta(minutes=5)
    assert [name.rpartition("__")[2] for name in result.tables] == [STRUCTURE, BLOCKS]


def test_the_same_structure_again_changes_nothing(service: Service, openedx_lake: Catalog, tmp_path: Path, course: str) -> None:
    job.run(arguments(service, tmp_path, course))
    before = (rows(openedx_lake, STRUCTURE, course), rows(openedx_lake, BLOCKS, course), [path.stat().st_mtime_ns for path in files(tmp_path)])
    for key in (tmp_path.name, "another run"):
        result = job.run(arguments(service, tmp_path, course, **{"run-key": key}))
        assert [table.extra["committed"] for table in result.tables.values()] == [False, False]
    assert before == (rows(openedx_lake, STRUCTURE, course), rows(openedx_lake, BLOCKS, course), [path.stat().st_mtime_ns for path in files(tmp_path)])


def test_a_new_structure_takes_the_place_of_the_old_one(service: Service, openedx_lake: Catalog, tmp_path: Path, course: str) -> None:
    other = _unused[0]
    job.run(arguments(service, tmp_path, other))
    first = job.run(arguments(service, tmp_path, course)).facts["content_hash"]
    service.change(publish=[course])
    second = job.run(arguments(service, tmp_path, course)).facts["content_hash"]
    assert first != second
    assert {row["course_content_hash"] for row in rows(openedx_lake, BLOCKS, course)} == {second}
    assert [row["content_hash"] for row in rows(openedx_lake, STRUCTURE, course)] == [second]
    assert len(rows(openedx_lake, BLOCKS, other)) > 0
    assert len([path for path in files(tmp_path) if course in str(path)]) == 4, "every version stays in the landing zone"


def test_in_whatever_order_and_how_often_structures_come_the_newest_stays(openedx_lake: Catalog) -> None:
    """Same inputs delivered 1 to 5 times in random order: the tables are those of a single delivery."""
    tables = StructureTables(openedx_lake, current_environment(), "mitxonline")
    draw = random.Random(7)
    found = []
    for number in range(3):
        course = f"course-v1:Order+{number}+x"
        deliveries = [(version, copy) for version in range(3) for copy in range(1 + (draw.randint(0, 3) if number else 0))]
        if number:
            draw.shuffle(deliveries)
        for place, (version, _) in enumerate(deliveries):
            root = f"block-v1:Order+{number}+x+type@course+block@course"
            document = {root: {"category": "course", "children": [], "metadata": {"display_name": f"Version {version}"}}}
            moment = (START + timedelta(hours=version)).isoformat()
            tables.write(structure_row(course, document, moment), block_rows(course, document, moment), f"delivery {place}")
        drop = {"course_id", "content_hash", "course_content_hash", "block_id", "block_content_hash", "course_structure", "course_structure_flattened"}
        found.append(
            [[{name: value for name, value in row.items() if name not in drop} for row in rows(openedx_lake, part, course)] for part in (STRUCTURE, BLOCKS)]
        )
    assert found[0] == found[1] == found[2]
    assert found[0][1][0]["course_title"] == "Version 2"


def test_a_run_that_is_gone_is_no_failure_and_deletes_nothing(service: Service, openedx_lake: Catalog, tmp_path: Path, course: str) -> None:
    """system.md §5.2: a 404 gives no output."""
    job.run(arguments(service, tmp_path, course))
    service.change(remove=[course])
    result = job.run(arguments(service, tmp_path, course))
    service.change(restore=[course])
    assert (result.tables, result.facts) == ({}, {"course": course, "exists": False})
    assert len(rows(openedx_lake, STRUCTURE, course)) == 1


def test_a_structure_that_is_none_is_kept_in_the_quarantine(
    service: Service, openedx_lake: Catalog, tmp_path: Path, course: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"block-v1:a": {"category": "course", "children": "none", "metadata": {}}}
    monkeypatch.setattr(service.store, "content", content.Content(content.archive_of, lambda run: broken))
    with pytest.raises(PermanentError, match=r"/api/course-structure/v0/.*children .*kept at"):
        job.run(arguments(service, tmp_path, course))
    (kept,) = files(tmp_path)
    assert kept.relative_to(tmp_path / "landing").parts[:5] == ("mitxonline", "openedx", "quarantine", "course_structure", course)
    (line,) = map(json.loads, kept.read_text().splitlines())
    assert line.keys() == {"source", "member", "offset", "reason", "found"}
    assert line["source"].endswith(f"/api/course-structure/v0/{course}/")


def test_as_a_program(service: Service, openedx_lake: Catalog, tmp_path: Path, course: str) -> None:
    command = [
        *(sys.executable, "-m", "include.jobs", "course-structure", "--result", str(tmp_path / "r.json"), "--deployment", "mitxonline"),
        *("--course", course, "--lms", service.lms, "--landing", str(tmp_path / "landing"), "--run-key", tmp_path.name),
    ]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert JobResult.from_json((tmp_path / "r.json").read_text()).facts["exists"]
    assert len(rows(openedx_lake, STRUCTURE, course)) == 1
