"""The export as a job: its steps apart and together, and killed anywhere."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from include.config.files import ROOT
from include.contract import PERMANENT_EXIT, JobResult, PermanentError
from include.jobs.openedx.courses.landing import Landing
from include.jobs.openedx.export import job
from include.jobs.openedx.export.record import Phase, Records
from tests.openedx_service import EXPORTS, VARIABLES

from .work import Work

KILLS = int(os.environ.get("EXPORT_KILLS", "1"))  # rounds of kill -9

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
    with httpx.Client(trust_env=False, timeout=60) as http:
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
