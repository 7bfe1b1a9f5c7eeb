"""The supervisor: nothing foreign is ever killed, nothing of ours is ever left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from include.local.processes import MARK, Processes
from include.local.programs import Service, ServiceError, identity_of

REPOSITORY = Path(__file__).resolve().parents[3]
# starts a child in a session of its own, which ignores requests to end, and says so; then ignores them itself where told
STUBBORN = """
import signal, subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('child ready', flush=True); time.sleep(300)"
subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(300)
"""


@pytest.fixture
def mark() -> str:
    return f"test{os.getpid()}{time.monotonic_ns()}"


@pytest.fixture
def processes(tmp_path: Path, mark: str) -> Iterator[Processes]:
    (tmp_path / "run").mkdir()
    found = Processes(tmp_path / "run", tmp_path / "logs", mark)
    yield found
    found.stop()
    assert not _marked(mark)


def _marked(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def _service(processes_log: Path, *, name: str = "program", code: str = STUBBORN, argument: str = "polite", grace: float = 5, deadline: float = 20) -> Service:
    log = processes_log / f"{name}.log"
    return Service(name, (sys.executable, "-c", code, argument), lambda: log.exists() and log.read_text().count("ready") >= 2, grace=grace, deadline=deadline)


def test_stop_ends_descendants_in_other_sessions_too(processes: Processes, tmp_path: Path, mark: str) -> None:
    service = _service(tmp_path / "logs")
    processes.start(service, attached=False)
    processes.wait([service])
    assert len(_marked(mark)) == 2
    assert processes.stop() == ["program"]
    assert _marked(mark) == []
    assert processes.records() == []


def test_a_program_that_ignores_the_request_is_killed_after_its_grace(processes: Processes, tmp_path: Path) -> None:
    service = _service(tmp_path / "logs", argument="stubborn", grace=0.3)
    record = processes.start(service, attached=False)
    processes.wait([service])
    begin = time.monotonic()
    processes.stop()
    assert 0.3 <= time.monotonic() - begin < 30
    assert not record.alive


def test_another_process_can_stop(processes: Processes, tmp_path: Path, mark: str) -> None:
    service = _service(tmp_path / "logs")
    processes.start(service, attached=False)
    processes.wait([service])
    program = "import sys; from pathlib import Path; from include.local.processes import Processes; p = Path(sys.argv[1]); "
    program += "print(Processes(p / 'run', p / 'logs', sys.argv[2]).stop())"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), mark], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['program']"
    assert _marked(mark) == []


def test_a_reused_process_id_is_never_killed(processes: Processes, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True) as stranger:
        time.sleep(0.05)  # a start is known to 10 ms: two programs of one moment could not be told apart
        service = _service(tmp_path / "logs")
        processes.start(service, attached=False)
        processes.wait([service])
        path = tmp_path / "run" / "program.json"
        record = json.loads(path.read_text())
        os.kill(record["pid"], signal.SIGKILL)
        path.write_text(json.dumps({**record, "pid": stranger.pid}))  # as if the system had given the id to somebody else
        assert processes.running("program") is None
        processes.stop()
        processes.end_leftovers()
        assert stranger.poll() is None
        stranger.kill()


def test_the_same_program_is_left_alone_and_a_changed_one_is_started_again(processes: Processes, tmp_path: Path) -> None:
    service = _service(tmp_path / "logs")
    first = processes.start(service, attached=False)
    assert processes.start(service, attached=False) == first
    second = processes.start(replace(service, inputs=("other settings",)), attached=False)
    assert second.pid != first.pid
    assert not first.alive
    assert second.alive


def test_ending_while_starting_is_told_with_the_end_of_the_log(processes: Processes, tmp_path: Path) -> None:
    service = _service(tmp_path / "logs", code="print('reading settings'); raise SystemExit('no such table: users')")
    processes.start(service, attached=False)
    with pytest.raises(ServiceError, match=r"program ended while starting; last lines of .*program\.log:\n    reading settings\n    no such table: users"):
        processes.wait([service])


def test_a_passed_deadline_is_told(processes: Processes, tmp_path: Path) -> None:
    service = _service(tmp_path / "logs", code="import time; print('waiting for a lock', flush=True); time.sleep(300)", deadline=4)
    processes.start(service, attached=False)
    with pytest.raises(ServiceError, match=r"program did not answer within 4 s(.|\n)*waiting for a lock"):
        processes.wait([service])


def test_a_crash_is_noticed(processes: Processes, tmp_path: Path) -> None:
    service = _service(tmp_path / "logs")
    record = processes.start(service, attached=True)
    processes.wait([service])
    processes.check()
    os.kill(record.pid, signal.SIGKILL)
    while record.alive:
        time.sleep(0.01)
    with pytest.raises(ServiceError, match=r"program ended with exit code -9; last lines of"):
        processes.check()


SUPERVISOR = """
import sys, time
from pathlib import Path
from include.local.processes import Processes
from include.local.programs import Service
folder = Path(sys.argv[1])
processes = Processes(folder / "run", folder / "logs", sys.argv[2])
log = folder / "logs" / "program.log"
service = Service("program", (sys.executable, "-c", sys.argv[3], sys.argv[4]), lambda: log.read_text().count("ready") >= 2, grace=0.5)
processes.start(service, attached=True)
processes.wait([service])
print("up", flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("argument", ["polite", "stubborn"])
def test_kill_9_of_the_supervisor_leaves_nothing_at_the_next_start(processes: Processes, tmp_path: Path, mark: str, argument: str) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), mark, STUBBORN, argument]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        assert processes.owner() == supervisor.pid
        supervisor.kill()
    assert processes.owner() is None
    if argument == "polite" and sys.platform == "linux":
        _until(lambda: processes.running("program") is None)  # the system told it that its supervisor is gone
    processes.end_leftovers()
    assert _marked(mark) == []
    assert processes.records() == []


def test_a_program_that_was_never_recorded_is_ended_at_the_next_start(processes: Processes, mark: str) -> None:
    environment = {**os.environ, MARK: f"{mark}/program"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=environment, start_new_session=True) as lost:
        _until(lambda: _marked(mark) == [lost.pid])
        processes.end_leftovers()
        assert lost.wait(5) == -signal.SIGKILL


def test_programs_in_the_background_are_no_leftovers(processes: Processes, tmp_path: Path, mark: str) -> None:
    service = _service(tmp_path / "logs")
    record = processes.start(service, attached=False)
    processes.wait([service])
    processes.end_leftovers()
    assert record.alive
    assert len(_marked(mark)) == 2


def test_identity_is_empty_for_what_does_not_run() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        _until(lambda: identity_of(child.pid) == "")  # ended, not yet waited for
    assert identity_of(child.pid) == ""
    assert identity_of(os.getpid()) == identity_of(os.getpid()) != ""


def _until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
