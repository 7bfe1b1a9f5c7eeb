"""The commands of the two how-tos do what they say, and the receiver runs as a program of the local platform."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from include.config.files import ROOT
from include.local.learn import Learn as LearnProgram
from include.local.paths import Paths
from include.local.platform import Platform
from include.local.ports import Ports
from tests.jobs.openedx.webhooks.harness import World, event, per_course, run_job
from tests.local.services.airbyte_harness import wait_until
from tests.local.services.learn_harness import Learn

BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[str]:
    return BLOCK.findall((ROOT / "docs" / "howto" / name).read_text(encoding="utf-8"))


def bash(text: str, folder: Path, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", text.replace("/tmp/", f"{folder}/")],
        cwd=ROOT,
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_how_to_replay_a_dead_letter(world: World, tmp_path: Path) -> None:
    listing, replays, sending = blocks("replay-a-dead-letter.md")
    world.enqueue(event(1, 1), event(2, 1))
    world.learn.faults({"status": 400, "count": 2})
    assert world.deliver()["died"] == 2
    bash(listing, tmp_path)
    letters = json.loads((tmp_path / "dead-letters.json").read_text())["facts"]["letters"]
    assert {letter["id"] for letter in letters} == {str(event(1, 1).id), str(event(2, 1).id)}
    bash(replays, tmp_path, ID=letters[0]["id"])
    bash(sending, tmp_path)
    assert json.loads((tmp_path / "deliver.json").read_text())["facts"]["delivered"] == 2
    assert sum(map(len, per_course(world.learn.applied()).values())) == 2


def test_how_to_rotate_the_key(world: World, tmp_path: Path) -> None:
    """The variable and the secrets as the how-to makes them; what it tells Kubernetes is told to the variable here."""
    making, patching, dropping = blocks("rotate-the-webhook-key.md")
    new = bash(f'{making}\necho -n "$NEW"', tmp_path)
    old = os.environ["MIT_LEARN_WEBHOOK_KEYS"]

    def keys_of(block: str) -> str:
        (patch,) = re.findall(r'-p ("\{.*\}")$', block.strip(), re.MULTILINE)
        return str(json.loads(bash(f"echo -n {patch}", tmp_path, NEW=new, OLD=old))["stringData"]["keys"])

    def accept(*entries: str) -> None:
        world.learn.settings(keys=dict(entry.split("=", 1) for entry in entries))

    for step, (ours, theirs) in enumerate([(keys_of(patching), (old,)), (keys_of(patching), (old, new)), (keys_of(dropping), (new,))]):
        world.patch.setenv("MIT_LEARN_WEBHOOK_KEYS", ours)
        accept(*theirs)
        world.enqueue(event(1, step))
        assert world.deliver()["delivered"] == 1
    ids = [row["key_id"] for row in world.rows("SELECT key_id FROM webhooks.events ORDER BY sequence")]
    assert ids == ["old", new.partition("=")[0], new.partition("=")[0]]


def test_the_receiver_as_a_program_of_the_platform(world: World, postgres: Platform, tmp_path: Path) -> None:
    paths = Paths(state=tmp_path / "state")
    paths.prepare()
    program = LearnProgram(paths)
    Ports(tmp_path / "state" / "ports.json").choose("learn")
    service = program.service()
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(service.command, cwd=service.directory, env={**os.environ, **service.environment}, stdout=log, stderr=log)
    try:
        wait_until(service.ready, service.deadline, (tmp_path / "log").read_text)
        for name, value in {**program.environment(postgres.postgres), "PGPASSWORD": postgres.postgres.password}.items():
            world.patch.setenv(name, value)
        flags = ("--course-id", "course-v1:a+b+c", "--content-path", "xpro/x", "--source", "xpro", "--run-key", "1")
        event_id = run_job("webhook-enqueue", *flags)["event_id"]
        assert run_job("webhook-deliver")["delivered"] == 1
        assert [item.idempotency_key for item in Learn(program.url).applied()] == [event_id]
        assert paths.secret("learn") not in " ".join(service.command)
    finally:
        child.terminate()
        assert child.wait(20) == 0
