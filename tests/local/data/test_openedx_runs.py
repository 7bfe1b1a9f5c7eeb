"""Course runs as the local Open edX publishes them: those of the databases, and their history."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest

from include.config.files import ROOT
from include.local.data.names import MITXPRO, OPENEDX
from include.local.data.openedx_runs import invented_runs, runs_from_databases
from include.local.openedx import OpenEdx
from include.local.openedx_sources import deployments, facts_of
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.services.openedx.content import generated
from tests.local.data.databases import drop, restore

GET = {"username": "data_platform", "page_size": "100"}


def query(server: str, database: str, text: str) -> list[tuple]:
    with psycopg.connect(server, dbname=database) as connection:
        return connection.execute(text.encode()).fetchall()


def test_runs_are_those_of_the_databases_and_change_with_them(day_zero: str) -> None:
    first = {run.id: run for run in runs_from_databases(day_zero, "mitxonline")}
    assert first.keys() == {row[0] for row in query(day_zero, OPENEDX, "SELECT id FROM course_overviews_courseoverview")}
    assert {run.revision for run in first.values()} == {0}
    xpro = {run.id for run in runs_from_databases(day_zero, "xpro")}
    assert xpro == {row[0] for row in query(day_zero, MITXPRO, "SELECT courseware_id FROM courses_courserun WHERE external_course_run_id IS NULL")}
    residential = runs_from_databases(day_zero, "mitx")
    restore(day_zero, "day1")
    second = {run.id: run for run in runs_from_databases(day_zero, "mitxonline")}
    modified = {row[0] for row in query(day_zero, OPENEDX, "SELECT id FROM course_overviews_courseoverview WHERE modified >= '2026-03-03'")}
    assert modified
    assert {name for name, run in second.items() if name not in first or first[name].published_version != run.published_version} == modified
    assert first.keys() - second.keys(), "a run that was withdrawn"
    after = runs_from_databases(day_zero, "mitx")
    assert [run.id for run in after] == [run.id for run in residential]
    assert sum(one.published_version != other.published_version for one, other in zip(residential, after, strict=True)) == 1


@pytest.mark.parametrize(("count", "changed"), [(3500, 105), (100, 3), (10, 0)])
def test_a_day_publishes_its_share_again(count: int, changed: int) -> None:
    runs = [invented_runs("xpro", count, day=day) for day in range(3)]
    assert runs[0] == invented_runs("xpro", count)
    assert len({run.id for run in runs[0]}) == count
    for before, after in ((runs[0], runs[1]), (runs[1], runs[2])):
        different = [(one, other) for one, other in zip(before, after, strict=True) if one.published_version != other.published_version]
        assert len(different) == changed
        assert all(other.published_at > one.published_at and other.revision == one.revision + 1 for one, other in different)
    assert invented_runs("xpro", count, seed=8) != runs[0]
    assert {run.published_version for run in runs[0]}.isdisjoint(run.published_version for run in invented_runs("mitxonline", count))


def test_what_is_inside_a_run_changes_with_its_version() -> None:
    content, run = generated(7), invented_runs("mitxonline", 1)[0]
    again = run.published(run.published_at)
    assert content.archive_of(run) == content.archive_of(run) != content.archive_of(again)
    assert content.structure_of(run) == content.structure_of(run) != content.structure_of(again)


def assert_expected_facts_are_the_services(dsn: str, openedx: OpenEdx, http: httpx.Client, course_id: str) -> None:
    """What the demo's summary expects of a course run, without asking the service, is what the service answers with."""
    twin = deployments(dsn)["mitxonline"]
    twin.refresh()
    run = twin.run(course_id)
    assert run is not None
    facts = facts_of(run, twin.content)
    assert facts.published_version == http.get(f"{openedx.url}/mitxonline/lms/api/learning_sequences/v1/course_outline/{course_id}").json()["published_version"]
    assert facts.structure_blocks == len(http.get(f"{openedx.url}/mitxonline/lms/api/course-structure/v0/{course_id}/").json())
    deadline = time.monotonic() + 300
    while (answer := httpx.get(f"{openedx.url}/mitxonline/bucket/{quote(course_id, safe=':')}.tar.gz", trust_env=False, timeout=120)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert facts.archive_sha256 == hashlib.sha256(answer.content).hexdigest()


def test_as_a_part_of_the_platform_it_follows_the_generated_databases(day_zero: str, tmp_path: Path) -> None:
    """Started before there are any databases, as the local platform starts it."""
    drop(day_zero)
    found = psycopg.conninfo.conninfo_to_dict(day_zero)
    address = Address(int(str(found["port"])), str(found["password"]), str(found["host"]), str(found["user"]))
    paths = Paths(state=tmp_path)
    paths.prepare()
    openedx = OpenEdx(paths)
    for program in openedx.programs:
        Ports(tmp_path / "ports.json").choose(program)
    service = openedx.services(address, {})[0]
    lms, studio = (f"{openedx.url}/mitxonline/{part}" for part in ("lms", "studio"))
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(service.command, cwd=ROOT, env={**os.environ, **service.environment}, stdout=log) as child:
        try:
            deadline = time.monotonic() + 300
            while not service.ready():
                assert time.monotonic() < deadline
                assert child.poll() is None
                time.sleep(0.05)
            application = openedx.environment(address)
            form = {"grant_type": "client_credentials", "client_id": application["OPENEDX_CLIENT_ID"], "client_secret": application["OPENEDX_CLIENT_SECRET"]}
            answer = httpx.post(f"{lms}/oauth2/access_token", data=form, trust_env=False, timeout=120).json()
            http = httpx.Client(headers={"Authorization": f"Bearer {answer['access_token']}"}, trust_env=False, timeout=120)
            courses = f"{lms}/api/courses/v1/courses/"
            assert http.get(courses, params=GET).status_code == 500
            restore(day_zero, "day0")
            first = http.get(courses, params=GET).raise_for_status().json()["results"]
            assert [run["id"] for run in first] == [run.id for run in runs_from_databases(day_zero, "mitxonline")]
            outline = f"{lms}/api/learning_sequences/v1/course_outline/{first[0]['id']}"
            before = http.get(outline).json()["published_version"]
            with psycopg.connect(day_zero, dbname=OPENEDX, autocommit=True) as connection:
                connection.execute("UPDATE course_overviews_courseoverview SET modified = modified + interval '900 days' WHERE id = %s", [first[0]["id"]])
            deadline = time.monotonic() + 300
            while http.get(outline).json()["published_version"] == before:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert http.post(f"{studio}/api/courses/v0/export/", json={"courses": [first[0]["id"]]}).status_code == 200
            assert_expected_facts_are_the_services(day_zero, openedx, http, first[0]["id"])
        finally:
            child.terminate()
            child.wait(120)
