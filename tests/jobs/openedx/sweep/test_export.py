"""The export of a course run: every state and every way to end, and that nobody who joins or resumes exports twice."""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import boto3
import fsspec
import httpx
import pytest

from include.config.files import ROOT
from include.contract import PERMANENT_EXIT, JobResult, PermanentError, TransientError
from include.jobs.openedx.api.client import NotFoundError
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Patience
from include.jobs.openedx.api.studio import Studio
from include.jobs.openedx.courses.landing import Landing
from include.jobs.openedx.export import download as download_module
from include.jobs.openedx.export import job
from include.jobs.openedx.export.download import bucket_address, download
from include.jobs.openedx.export.record import ExportRecord, Phase, Records
from include.jobs.openedx.export.steps import STARTS, Exporter
from tests.openedx_service import EXPORTS, QUICK, VARIABLES, Service, free_port, running

from .test_api import listener

KILLS = int(os.environ.get("EXPORT_KILLS", "2"))  # rounds of kill -9


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(40) as found:
        yield found


@pytest.fixture
def course(service: Service) -> Iterator[str]:
    """A run that no other test has exported."""
    service.clear()
    exported = {task["course"] for task in service.exports()}
    yield next(name for name in service.ids if name not in exported)
    service.clear()


@pytest.fixture
def course_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@dataclass
class Work:
    """The steps with a folder of their own; every call is a process of its own as far as the steps can tell."""

    service: Service
    folder: Path
    exporter: Exporter

    @property
    def landing(self) -> str:
        return str(self.folder / "landing")

    def start(self, course: str, run_key: str = "run") -> ExportRecord:
        async def asked() -> ExportRecord:
            async with self.service.client() as lms, self.service.client(self.service.studio) as studio:
                return await self.exporter.start(Lms(lms), Studio(studio), course, run_key)

        return asyncio.run(asked())

    def look(self, record: ExportRecord) -> ExportRecord:
        return self.service.ask(lambda client: self.exporter.look(Studio(client), record), self.service.studio)

    def wait(self, record: ExportRecord) -> ExportRecord:
        deadline = time.monotonic() + 20
        while (record := self.look(record)).phase is Phase.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return record

    def fetch(self, record: ExportRecord) -> ExportRecord:
        return asyncio.run(self.exporter.fetch(record, self.landing))

    def all(self, course: str, run_key: str = "run") -> ExportRecord:
        return self.fetch(self.wait(self.start(course, run_key)))

    def begun(self, course: str) -> int:
        """How many exports of a run Studio has seen."""
        return [task["course"] for task in self.service.exports()].count(course)

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "landing").rglob("*") if path.is_file())


@pytest.fixture
def work(service: Service, tmp_path: Path) -> Work:
    return Work(service, tmp_path, Exporter("mitxonline", Records(str(tmp_path / "state"), "mitxonline"), downloads=QUICK))


# --- the way it goes -----------------------------------------------------------------------------


def test_an_export_lands_under_the_hash_of_its_content(work: Work, course: str) -> None:
    record = work.all(course)
    (file,) = work.files()
    assert file == work.folder / "landing" / "mitxonline" / "openedx" / "raw_data" / "course_xml" / course / f"{record.sha256}.xml.tar.gz"
    data = file.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data), record.object) == (record.sha256, record.bytes, str(file))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "course/course.xml" in tar.getnames()
    assert record.published_version == work.service.version(course)
    assert work.exporter.records.read(course) == record


def test_the_version_is_read_before_the_export(work: Work, course: str) -> None:
    """Published while the export runs: the archive may hold more than the version says, never less."""
    before = work.service.version(course)
    record = work.start(course)
    work.service.change(publish=[course])
    record = work.fetch(work.wait(record))
    assert record.published_version == before != work.service.version(course)
    asked = [one["path"] for one in work.service.requests() if "outline" in one["path"] or one["method"] == "POST"]
    outline, export = (next(number for number, path in enumerate(asked) if part in path) for part in ("course_outline", "/export/"))
    assert outline < export


def test_each_step_can_be_another_process_and_can_be_repeated(work: Work, course: str) -> None:
    for _ in range(3):
        started = work.start(course)
    for _ in range(2):
        ended = work.wait(started)
    for _ in range(2):
        fetched = work.fetch(ended)
    again = work.start(course)
    assert again == work.look(again) == work.fetch(again) == work.exporter.records.read(course)
    assert fetched.sha256 == again.sha256
    assert work.begun(course) == 1
    assert len(work.files()) == 1


def test_equal_archives_are_written_once(work: Work, course: str) -> None:
    work.all(course, "first")
    (file,) = work.files()
    stamp = file.stat().st_mtime_ns
    assert work.all(course, "second").object == str(file)
    assert file.stat().st_mtime_ns == stamp
    assert work.begun(course) == 2


# --- joining -------------------------------------------------------------------------------------


def test_another_run_joins_an_export_of_the_same_version(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0.3}})
    first = work.start(course, "first")
    second = work.start(course, "second")
    assert (second.task_id, second.run_key) == (first.task_id, "second")
    assert work.begun(course) == 1


def test_another_run_does_not_join_an_export_of_an_older_version(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 5}})
    first = work.start(course, "first")
    work.service.change(publish=[course])
    second = work.start(course, "second")
    assert second.task_id != first.task_id
    assert (second.published_version, work.begun(course)) == (work.service.version(course), 2)


# --- bad ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["Failed", "Canceled"])
def test_a_bad_end_is_permanent(work: Work, course: str, end: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0.01, "end": end}})
    with pytest.raises(PermanentError, match=f"{end}; see Studio's log for task"):
        work.wait(work.start(course))
    record = work.exporter.records.read(course)
    assert record is not None
    assert (record.phase, record.state) == (Phase.ENDED, end)
    assert work.files() == []
    assert work.all(course).phase is Phase.FETCHED, "asked for once more, it begins anew"


def test_retrying_is_waited_for(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"states": ["Pending", "In Progress", "Retrying", "In Progress"], "seconds": 0.2}})
    record = work.start(course)
    seen = set()
    while record.phase is Phase.RUNNING:
        record = work.look(record)
        seen.add(record.state)
    assert seen >= {"Retrying", "Succeeded"}
    assert work.begun(course) == 1


def test_an_export_that_hangs_is_given_up_and_begun_anew(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0, "end": None}})
    record = work.start(course)
    assert work.look(record).phase is Phase.RUNNING
    late = replace(work.exporter, now=lambda: datetime.now(UTC) + timedelta(minutes=61))
    with pytest.raises(TransientError, match="the export is 'In Progress' after 1:00:00"):
        work.service.ask(lambda client: late.look(Studio(client), record), work.service.studio)
    assert work.all(course).phase is Phase.FETCHED
    assert work.begun(course) == 2


def test_a_hanging_export_that_nobody_looked_at_is_not_joined(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0, "end": None}})
    first = work.start(course)
    work.exporter.records.write(replace(first, begun_at=first.begun_at - timedelta(minutes=61)))
    assert work.start(course).task_id != first.task_id


def test_a_task_that_studio_has_forgotten(work: Work, course: str) -> None:
    record = work.start(course)
    work.exporter.records.write(replace(record, task_id="3f609080-3b68-460e-a660-473d7e6b096e"))
    with pytest.raises(TransientError, match="Studio does not know task 3f609080"):
        work.wait(work.start(course))
    assert work.all(course).phase is Phase.FETCHED


def test_a_course_that_is_gone(work: Work, course: str) -> None:
    with pytest.raises(NotFoundError, match="HTTP 404"):
        work.start("course-v1:No+such+run")
    assert work.exporter.records.read("course-v1:No+such+run") is None


def test_looking_is_patient(work: Work, course: str) -> None:
    record = work.start(course)
    rule = {"match": {"method": "GET", "path": "*/studio/*"}}
    work.service.faults({**rule, "status": 500}, {**rule, "half_body": True}, {**rule, "status": 401}, {**rule, "status": 429, "retry_after": 0})
    assert work.wait(record).phase is Phase.SUCCEEDED


def test_exports_that_cannot_be_queued_are_not_asked_for_for_ever(work: Work, course: str) -> None:
    """features.md A6-8: unbounded repetition of impossible work."""
    work.service.faults({"match": EXPORTS, "count": None, "export": {"refuse": "the queue is away"}})
    for _ in range(STARTS):
        with pytest.raises(TransientError, match="could not queue the export: the queue is away"):
            work.start(course)
    with pytest.raises(PermanentError, match=f"run run has asked for an export {STARTS} times; the last one: .*the queue is away"):
        work.start(course)
    assert len(work.service.requests("/export/")) == STARTS
    work.service.clear()
    assert work.all(course, "another run").phase is Phase.FETCHED


def test_a_refusal_is_permanent(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"reject": "bucket is not configured"}})
    with pytest.raises(PermanentError, match="bucket is not configured"):
        work.start(course)


# --- downloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"half_body": True}, {"drop_answer": True}, {"status": 503}, {"status": 404}, {"status": 429}], ids=str)
def test_a_broken_download_is_begun_anew(work: Work, course: str, fault: dict[str, Any]) -> None:
    record = work.wait(work.start(course))
    work.service.faults({"match": {"path": "*/bucket/*"}, "count": 2, **fault})
    fetched = work.fetch(record)
    assert [file.name for file in work.files()] == [f"{fetched.sha256}.xml.tar.gz"]
    gzip.decompress(work.files()[0].read_bytes())


@pytest.mark.parametrize("fault", [{"half_body": True}, {"status": 404}, {"status": 403}], ids=str)
def test_a_download_that_stays_broken_leaves_nothing(work: Work, course: str, fault: dict[str, Any]) -> None:
    record = work.wait(work.start(course))
    work.service.faults({"match": {"path": "*/bucket/*"}, "count": None, **fault})
    with pytest.raises(PermanentError if fault.get("status") == 403 else TransientError):
        work.fetch(record)
    assert work.files() == []
    work.service.clear()
    assert work.fetch(record).phase is Phase.FETCHED


def test_an_earlier_archive_under_the_same_address_is_not_taken(work: Work, course: str) -> None:
    record = work.wait(work.start(course))
    work.service.store.exports.bucket[course] = replace(work.service.store.exports.bucket[course], modified=datetime.now(UTC) - timedelta(hours=2))
    with pytest.raises(TransientError, match="allowed: one of this export, begun"):
        work.fetch(record)
    assert work.files() == []


def test_an_archive_is_not_taken_before_the_export_has_succeeded(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 5}})
    with pytest.raises(PermanentError, match="found an export that is running; allowed: one that has succeeded"):
        work.fetch(work.start(course))


def test_the_bucket_is_shown_no_token(work: Work, course: str) -> None:
    """The stand-in's bucket answers 400 to an Authorization header, as S3 does; and a plus sign in an address must be encoded."""
    assert "+" in work.start(course).url
    assert work.all(course).phase is Phase.FETCHED


def plain(body: bytes, **headers: str) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    return lambda path: (200, headers, body)


@pytest.mark.parametrize("body", [b"<html>not here</html>", b"", b"\x1f"])
def test_what_is_no_gzip_file_is_no_archive(tmp_path: Path, body: bytes) -> None:
    with listener(plain(body)) as (root, heard), pytest.raises(TransientError, match=r"found a file that begins with .*allowed: gzip"):
        asyncio.run(download(f"{root}/a.tar.gz", tmp_path / "a", Patience(2, first=0.01)))
    assert heard == ["/a.tar.gz"] * 2


def test_more_than_an_archive_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "MOST_BYTES", 1000)
    with listener(plain(b"\x1f\x8b" + b"x" * 2000)) as (root, _), pytest.raises(PermanentError, match="found 2002 bytes; allowed: at most 1000"):
        asyncio.run(download(f"{root}/a.tar.gz", tmp_path / "a", QUICK))


def test_a_signature_in_an_address_arrives_as_it_was(tmp_path: Path) -> None:
    body = gzip.compress(b"content")
    with listener(plain(body, **{"Last-Modified": format_datetime(datetime(2026, 3, 2, tzinfo=UTC), usegmt=True)})) as (root, heard):
        query = "X-Amz-Credential=AK%2F20260302&X-Amz-Signature=a%2Bb%3D"
        found = asyncio.run(download(f"{root}/course-v1%3Aa%2Bb%2Bc.tar.gz?{query}", tmp_path / "a", QUICK))
        asyncio.run(download(f"{root}/course-v1:a+b+c.tar.gz", tmp_path / "b", QUICK))
    assert (found.modified, found.bytes) == (datetime(2026, 3, 2, tzinfo=UTC), len(body))
    assert heard[0].partition("?")[0] == heard[1] == "/course-v1:a%2Bb%2Bc.tar.gz"
    assert httpx.QueryParams(heard[0].partition("?")[2]) == httpx.QueryParams(query)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://exports.s3.amazonaws.com/course-v1:a+b+c.tar.gz", "s3://exports/course-v1:a+b+c.tar.gz"),
        ("https://exports.s3.us-east-1.amazonaws.com/x/course-v1%3Aa%2Bb%2Bc.tar.gz", "s3://exports/x/course-v1:a+b+c.tar.gz"),
        ("https://s3.amazonaws.com/exports/a.tar.gz", "s3://exports/a.tar.gz"),
        ("s3://exports/a.tar.gz", "s3://exports/a.tar.gz"),
        ("https://exports.s3.amazonaws.com/a.tar.gz?X-Amz-Signature=1&X-Amz-Date=2", None),
        ("https://exports.s3.amazonaws.com.example.org/a.tar.gz", None),
        ("http://127.0.0.1:9000/exports/a.tar.gz", None),
    ],
)
def test_which_addresses_are_read_with_our_own_rights(url: str, address: str | None) -> None:
    assert bucket_address(url) == address


@contextmanager
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server that fsspec reaches as well."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    variables = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(variables["AWS_ENDPOINT_URL"], trust_env=False)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        fsspec.filesystem("s3").clear_instance_cache()
        yield boto3.client("s3")
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.kill()
        server.wait()


def test_an_archive_in_s3_goes_to_a_landing_zone_in_s3(work: Work, course: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is the plugin's; it is read by S3's protocol, and the object in the landing zone is written once."""
    with s3(tmp_path, monkeypatch) as client:
        client.create_bucket(Bucket="exports")
        client.create_bucket(Bucket="landing")
        record = replace(work.wait(work.start(course)), url=f"https://exports.s3.amazonaws.com/{course}.tar.gz")
        with pytest.raises(TransientError, match="FileNotFoundError"):
            asyncio.run(work.exporter.fetch(record, "s3://landing"))
        data = gzip.compress(random.Random(7).randbytes(9_000_000), 1)
        client.put_object(Bucket="exports", Key=f"{course}.tar.gz", Body=data)
        fetched = asyncio.run(work.exporter.fetch(record, "s3://landing"))
        assert fetched.object == f"s3://landing/mitxonline/openedx/raw_data/course_xml/{course}/{hashlib.sha256(data).hexdigest()}.xml.tar.gz"
        head = client.head_object(Bucket="landing", Key=fetched.object.removeprefix("s3://landing/"))
        assert head["ContentLength"] == len(data) == fetched.bytes
        assert asyncio.run(work.exporter.fetch(record, "s3://landing")).object == fetched.object
        assert client.head_object(Bucket="landing", Key=fetched.object.removeprefix("s3://landing/"))["LastModified"] == head["LastModified"]
        records = Records("s3://landing/state", "mitxonline")
        assert records.read(course) is None
        records.write(fetched)
        assert records.read(course) == fetched


# --- kills ---------------------------------------------------------------------------------------


class _Killed(BaseException):
    """What a process that dies leaves behind is what it had written before."""


def test_killed_at_every_step_it_exports_once(work: Work, course: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies before and after everything that is written or asked, one after the other; whoever comes next goes on. Only the answer to the start can be lost."""
    left = 0

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def living(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Killed
            result = call(*arguments, **options)
            left -= 1
            if left == 0:
                raise _Killed
            return result

        return living

    monkeypatch.setattr(Landing, "put", mortal(Landing.put))
    monkeypatch.setattr(Landing, "put_once", mortal(Landing.put_once))
    intended = 0
    for place in range(1, 40):
        left = place
        try:
            record = work.all(course, "run")
            break
        except _Killed:
            kept = Records.read(work.exporter.records, course)
            intended += kept is not None and kept.phase is Phase.INTENDED
    assert record.phase is Phase.FETCHED
    assert place > 5
    assert len(work.files()) == 1
    # dying between Studio's answer and its note, and nowhere else, costs another export
    assert work.begun(course) <= intended + 1
    assert work.all(course, "run") == record


def test_kill_9_and_the_same_command_again(work: Work, course: str, tmp_path: Path) -> None:
    draw = random.Random(KILLS)
    environment = {**os.environ, **VARIABLES}
    for number in range(KILLS):
        run = next(name for name in work.service.ids if not work.begun(name))
        work.service.faults({"match": EXPORTS, "count": None, "export": {"seconds": 0.5}})
        command = [
            *(sys.executable, "-m", "include.jobs", "course-export", "--result", str(tmp_path / f"{number}.json"), "--deployment", "mitxonline"),
            *("--course", run, "--lms", work.service.lms, "--studio", work.service.studio, "--state", str(tmp_path / "state")),
            *("--landing", work.landing, "--run-key", "killed", "--poll-seconds", "0.05"),
        ]
        lost = 0
        for _ in range(2):
            with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                deadline = time.monotonic() + 60
                while not work.begun(run) and child.poll() is None:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)
                time.sleep(draw.random() * 0.6)
                child.send_signal(signal.SIGKILL)
            kept = work.exporter.records.read(run)
            lost += kept is not None and kept.phase is Phase.INTENDED
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert work.begun(run) <= 1 + lost, "joined, not exported again"
        facts = JobResult.from_json((tmp_path / f"{number}.json").read_text()).facts
        assert (facts["course"], facts["phase"], facts["published_version"]) == (run, "fetched", work.service.version(run))
        assert Path(facts["archive"]).stat().st_size == facts["bytes"]


# --- the job -------------------------------------------------------------------------------------


def arguments(work: Work, course: str, /, **changes: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    flags = {"deployment": "mitxonline", "course": course, "lms": work.service.lms, "studio": work.service.studio, "state": str(work.folder / "state")}
    flags |= {"landing": work.landing, "run-key": "run", "poll-seconds": 0.02, **changes}
    return parser.parse_args([f"--{name}={value}" for name, value in flags.items()])


@pytest.mark.usefixtures("course_environment")
def test_the_steps_as_jobs_that_know_nothing_of_each_other(work: Work, course: str) -> None:
    started = job.run(arguments(work, course, mode="start", landing="")).facts
    assert (started["phase"], started["ended"], started["archive"]) == ("running", False, "")
    with httpx.Client(trust_env=False) as http:
        form = {"grant_type": "client_credentials", "client_id": VARIABLES["OPENEDX_CLIENT_ID"], "client_secret": VARIABLES["OPENEDX_CLIENT_SECRET"]}
        token = http.post(f"{work.service.lms}/oauth2/access_token", data=form).json()["access_token"]
        assert "state" in http.get(started["poll_url"], headers={"Authorization": f"Bearer {token}"}).json(), "what a trigger asks"
    deadline = time.monotonic() + 20
    while not (looked := job.run(arguments(work, course, mode="poll", landing="")).facts)["ended"]:
        assert time.monotonic() < deadline
    assert looked["state"] == "Succeeded"
    result = job.run(arguments(work, course, mode="fetch"))
    assert result.links == {"archive": str(work.files()[0])}
    assert result.facts["retrieved_at"] is not None
    assert json.loads(result.to_json())["facts"]["archive_sha256"] == result.facts["archive_sha256"]
    assert work.begun(course) == 1


@pytest.mark.usefixtures("course_environment")
def test_all_of_it_as_one_job(work: Work, course: str) -> None:
    facts = job.run(arguments(work, course)).facts
    assert (facts["phase"], facts["starts"], facts["published_version"]) == ("fetched", 1, work.service.version(course))


@pytest.mark.usefixtures("course_environment")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landing": ""}, "--landing: found nothing"),
        ({"mode": "poll"}, "export: found none; allowed: one that run run has started"),
        ({"mode": "fetch"}, "export: found none"),
        ({"course": "course-v1:../../x+b+c"}, "allowed: course-v1:"),
        ({"course": "MITx/6.00x/2013"}, "allowed: course-v1:"),
    ],
)
def test_commands_that_make_no_sense(work: Work, course: str, changes: dict[str, str], message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        job.run(arguments(work, course, **changes))


@pytest.mark.usefixtures("course_environment")
def test_another_runs_export_is_not_looked_at_nor_fetched(work: Work, course: str) -> None:
    job.run(arguments(work, course, mode="start"))
    with pytest.raises(PermanentError, match="found that of run run; allowed: one that run other has started"):
        job.run(arguments(work, course, **{"mode": "fetch", "run-key": "other"}))


def test_a_record_that_cannot_be_read_is_told(work: Work, course: str) -> None:
    path = Path(work.exporter.records.url(course))
    path.parent.mkdir(parents=True)
    path.write_text('{"course_id": "x"}')
    with pytest.raises(PermanentError, match="run_key: found"):
        work.start(course)


def test_without_credentials_the_job_says_which(work: Work, course: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [
        *(sys.executable, "-m", "include.jobs", "course-export", "--result", str(tmp_path / "r.json"), "--deployment", "mitxonline", "--course", course),
        *("--lms", work.service.lms, "--studio", work.service.studio, "--state", str(tmp_path), "--landing", str(tmp_path), "--run-key", "r"),
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == PERMANENT_EXIT
    assert "OPENEDX_CLIENT_ID: found nothing" in done.stdout
