"""A file is there whole or not at all, whoever fails or dies while it is written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.atomic import creating, is_unfinished, replacing
from include.config.files import ROOT

DIES = """
import os, pathlib, signal, sys
from include.atomic import replacing
with replacing(pathlib.Path(sys.argv[1])) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with replacing(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert is_unfinished(partial.name)
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file"]


def test_who_comes_second_leaves_the_first_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with creating(path) as mine:
        mine.write_text("mine")
        with creating(path) as other:
            other.write_text("the other's")
    assert path.read_text() == "the other's"
    assert os.listdir(tmp_path) == ["file"]


def _fail(path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text("half")
        raise OSError(28, "no space left")


def test_a_failure_leaves_the_old_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="no space left"):
        _fail(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_leaves_the_old_one_and_what_can_be_told_from_it(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)  # as long as a name may be
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", DIES, str(path)], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = [name for name in os.listdir(tmp_path) if name != path.name]
    assert is_unfinished(left)
    assert not is_unfinished(path.name)
