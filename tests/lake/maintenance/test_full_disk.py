"""A disk that is full for real: a ``tmpfs`` of a few megabytes in a mount namespace of the test's own, which needs no root.

The maintenance job and a job's write say which file had no room, on which disk; both finish when there is room again, and nothing is half done meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import ROOT
from include.contract import TRANSIENT_EXIT
from include.lake.catalog import ensure_table
from include.lake.names import TableRef
from include.local.platform import Platform
from tests.lake.conftest import ROWS
from tests.own_lake import new_lake
from tests.variables import variables

from .old_lake import OldLake, dsn_of
from .on_small_disk import WRITTEN, files, seen

MEGABYTES = 16


@dataclass
class SmallDisk:
    """Processes that see a small disk at ``folder``; nobody else does."""

    folder: Path
    holder: subprocess.Popen[bytes]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command that sees the disk."""
        inside = ["nsenter", "--target", str(self.holder.pid), "--user", "--preserve-credentials", "--mount"]
        inside += ["sh", "-c", 'cd "$0" && exec "$@"', str(ROOT), *command]
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=600, env=dict(os.environ))

    def python(self, *functions: str) -> list[Any]:
        """What functions of :mod:`tests.lake.maintenance.on_small_disk` answer, one after the other, in a process that sees the disk."""
        done = self.run(sys.executable, "-m", "tests.lake.maintenance.on_small_disk", str(self.folder / "lake"), *functions)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def fill(self) -> None:
        """Leaves nothing of it free."""
        done = self.run("dd", "if=/dev/zero", f"of={self.folder}/ballast", "bs=4096")
        assert "No space left on device" in done.stderr

    def make_room(self) -> None:
        assert self.run("rm", f"{self.folder}/ballast").returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = f"mount -t tmpfs -o size={MEGABYTES}m none {folder} && echo mounted && exec sleep 3600"
    with subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as holder:
        try:
            told = holder.stdout.readline().decode().strip() if holder.stdout else ""
            if told != "mounted":
                message = f"NOT TESTED: a full disk needs `unshare --user --map-root-user --mount` and a tmpfs, which this machine refuses: {told}"
                print(message, file=sys.__stderr__)
                pytest.skip(message)
            yield SmallDisk(folder, holder)
        finally:
            holder.kill()


@pytest.fixture
def old_lake(postgres: Platform, disk: SmallDisk, tmp_path: Path) -> Iterator[OldLake]:
    """Built beside the disk, then copied to it; the catalog's root is the disk from the beginning."""
    found = new_lake(postgres, disk.folder / "lake")
    with variables(found):
        lake = OldLake(disk.folder / "lake", disk.folder / "work", dsn_of(found), tables=2)
        lake.build()
        ensure_table(lake.catalog, TableRef(lake.catalog.name, lake.schema, WRITTEN), ROWS)
        shutil.copytree(lake.root, tmp_path / "built")
        done = disk.run("cp", "-a", str(tmp_path / "built"), str(lake.root))
        assert done.returncode == 0, done.stderr
        yield lake


def test_a_full_disk(disk: SmallDisk, old_lake: OldLake) -> None:
    before, built = seen(old_lake), files(old_lake)  # what lies below the disk's folder for everybody else
    disk.fill()

    done = disk.run(*old_lake.command())
    assert done.returncode == TRANSIENT_EXIT, done.stdout + done.stderr
    told = done.stdout.splitlines()[-1]
    assert told.count("no space for local:///warehouse/ol_warehouse_local_raw/t_") == 2
    assert f"on the disk of {disk.folder}" in told
    assert "0.0 of 16.8 MB are free; make room there" in told
    failed, *found = disk.python("write", "seen", "files")
    assert "no space for local:///warehouse/ol_warehouse_local_raw/written-" in failed["error"]
    assert found == [before, built], "nothing is changed, and nothing half done is left"

    disk.make_room()
    assert disk.python("write", "write") == [{"error": "", "rows": 2000}] * 2
    done = disk.run(*old_lake.command())
    assert done.returncode == 0, done.stdout + done.stderr
    after, loose = disk.python("seen", "loose")
    assert after.pop(WRITTEN)["rows"] == [7] * 2000
    assert {name: one["rows"] for name, one in after.items()} == {name: one["rows"] for name, one in before.items() if name != WRITTEN}
    assert all(one["snapshots"] < before[name]["snapshots"] for name, one in after.items())
    assert loose == []
