"""What the lake and MIT Learn hold of the Open edX domain: asked of Trino and of the receiver, in the form in which the sources tell what must be there."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date
from typing import Any

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.lake.names import table_in
from include.local.data.engagement import REPORTS, ROWS, Row
from include.local.loopback import DIRECT
from include.local.openedx_sources import CourseFacts
from include.local.platform import Platform
from include.local.summary import Lake

Reports = dict[str, dict[tuple[str, str], Row]]
# Of each table of archives and structures, what is counted for every course run.
_COUNTS = {
    "course_xml__video": ("count(*)", "CAST(coalesce(sum(TRY_CAST(duration AS decimal(18, 6))), 0) * 1000 AS bigint)"),
    "course_xml__policies": ("count(*)",),
    "course_xml__signatories": ("count(*)",),
    "course_xml__static_assets": ("count(*)", "sum(size_bytes)"),
    "api__course_blocks": ("count(*)",),
}


def reports(lake: Lake, settings: EnvironmentSettings, deployment: str) -> Reports:
    """The rows of the engagement reports by course run and block."""
    found: Reports = {}
    for report in REPORTS:
        columns = ", ".join(ROWS[report].__dataclass_fields__)
        rows = lake.rows(f"SELECT {columns} FROM {table_in(settings, Layer.REPORTING, report).sql} WHERE platform = '{deployment}'")  # noqa: S608
        found[report] = {(row[0], row[1]): ROWS[report](*row) for row in rows}
    return found


def days(lake: Lake, settings: EnvironmentSettings, deployment: str) -> list[date]:
    """The days whose tracking logs are loaded."""
    return [row[0] for row in lake.rows(f"SELECT DISTINCT log_day FROM {_raw(settings, deployment, 'tracking_logs')} ORDER BY 1")]  # noqa: S608


def courses(lake: Lake, settings: EnvironmentSettings, deployment: str) -> dict[str, CourseFacts]:
    """The facts of each course run that is loaded, by its id; one of which only rows but no course run is there is told without an edition."""
    blocks: dict[str, dict[str, int]] = defaultdict(dict)
    for course, kind, count in _grouped(lake, _raw(settings, deployment, "course_xml__blocks"), ("course_id", "block_type"), ("count(*)",)):
        blocks[course][kind] = count
    counts = {
        table: {row[0]: row[1:] for row in _grouped(lake, _raw(settings, deployment, table), ("course_id",), counted)} for table, counted in _COUNTS.items()
    }
    columns = "course_id, published_version, archive_sha256, quarantined_members"
    loaded = {row[0]: row[1:] for row in lake.rows(f"SELECT {columns} FROM {_raw(settings, deployment, 'course_xml__metadata')}")}  # noqa: S608
    found = {}
    for course in {*loaded, *blocks, *(course for rows in counts.values() for course in rows)}:
        version, sha256, quarantined = loaded.get(course, ("", "", 0))
        count = {table: rows.get(course, (0, 0)) for table, rows in counts.items()}
        videos, static = count["course_xml__video"], count["course_xml__static_assets"]
        found[course] = CourseFacts(
            published_version=version,
            archive_sha256=sha256,
            quarantined_members=quarantined,
            blocks=blocks.get(course, {}),
            structure_blocks=count["api__course_blocks"][0],
            videos=videos[0],
            video_ms=videos[1],
            policies=count["course_xml__policies"][0],
            signatories=count["course_xml__signatories"][0],
            static_files=static[0],
            static_bytes=static[1],
        )
    return found


def _grouped(lake: Lake, table: str, keys: tuple[str, ...], counted: tuple[str, ...]) -> list[tuple[Any, ...]]:
    by = ", ".join(keys)
    return lake.rows(f"SELECT {by}, {', '.join(counted)} FROM {table} GROUP BY {by}")  # noqa: S608


def _raw(settings: EnvironmentSettings, deployment: str, name: str) -> str:
    return table_in(settings, Layer.RAW, f"raw__{deployment}__openedx__{name}").sql


def told(platform: Platform) -> Counter[tuple[str, ...]]:
    """How often MIT Learn's receiver has applied each event: deployment, course run, its readable id, key of the archive."""
    with DIRECT.open(f"{platform.learn_url}/_applied", timeout=30) as answer:
        bodies = [json.loads(event["body"]) for event in json.loads(answer.read())]
    return Counter((body["source"], body["course_id"], body["course_readable_id"], body["content_path"]) for body in bodies)
