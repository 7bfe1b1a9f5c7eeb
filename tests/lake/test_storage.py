"""Files of the local lake appear whole or not at all, and only below its root."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import time
from pathlib import Path

import pytest

from include.lake.objects import LocalStore
from include.lake.storage import LakeFileIO, local_path
from include.lake.store_errors import StoreError


@pytest.fixture
def files(tmp_path: Path) -> LakeFileIO:
    return LakeFileIO({"local.root": str(tmp_path)})


def test_a_file_is_written_in_a_new_folder_and_read_back(files: LakeFileIO, tmp_path: Path) -> None:
    with files.new_output("local:///warehouse/t/day=2026-11-20%3A00/a.bin").create() as out:
        assert out.write(b"abc") == 3
        assert out.write(memoryview(b"def")) == 3
        assert not (tmp_path / "warehouse/t/day=2026-11-20%3A00/a.bin").exists(), "not before it is complete"
    assert (tmp_path / "warehouse/t/day=2026-11-20%3A00/a.bin").read_bytes() == b"abcdef"
    found = files.new_input("local:///warehouse/t/day=2026-11-20%3A00/a.bin")
    assert (found.exists(), len(found)) == (True, 6)
    with found.open() as stream:
        stream.seek(2)
        assert stream.read(3) == b"cde"
    assert os.listdir(tmp_path / "warehouse/t/day=2026-11-20%3A00") == ["a.bin"]


def test_a_failed_write_leaves_nothing(files: LakeFileIO, tmp_path: Path) -> None:
    with contextlib.suppress(RuntimeError), files.new_output("local:///t/a.bin").create() as out:
        out.write(b"half")
        raise RuntimeError
    assert os.listdir(tmp_path / "t") == []


def test_a_forgotten_stream_leaves_nothing(files: LakeFileIO, tmp_path: Path) -> None:
    out = files.new_output("local:///t/a.bin").create()
    out.write(b"half")
    del out
    assert os.listdir(tmp_path / "t") == []


def test_of_two_creators_one_wins(files: LakeFileIO) -> None:
    first = files.new_output("local:///t/a.bin").create()
    second = files.new_output("local:///t/a.bin").create()
    first.write(b"first")
    second.write(b"second")
    first.close()
    with pytest.raises(FileExistsError, match=r"local:///t/a\.bin"):
        second.close()
    with pytest.raises(FileExistsError, match=r"local:///t/a\.bin"):
        files.new_output("local:///t/a.bin").create()
    with files.new_output("local:///t/a.bin").create(overwrite=True) as third:
        third.write(b"third")
    with files.new_input("local:///t/a.bin").open() as stream:
        assert stream.read() == b"third"


def test_what_is_missing_is_named(files: LakeFileIO) -> None:
    with pytest.raises(FileNotFoundError, match="local:///t/none"):
        files.new_input("local:///t/none").open()
    with pytest.raises(FileNotFoundError):
        files.delete("local:///t/none")


@pytest.mark.parametrize("location", ["local:///../etc/passwd", "local:///t/../../x", "local://host/t", "file:///t", "/t"])
def test_locations_outside_the_root_are_refused(location: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        local_path("/lake", location)


def test_dots_in_names_are_names() -> None:
    assert local_path("/lake", "local:///t/..hidden/a..b") == Path("/lake/t/..hidden/a..b")


def test_without_a_root_local_files_cannot_be_opened() -> None:
    with pytest.raises(ValueError, match=r"local\.root: found nothing"):
        LakeFileIO({}).new_input("local:///t/a")


def test_other_schemes_go_to_fsspec_and_the_whole_survives_pickling(files: LakeFileIO, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(files))
    with copy.new_output(f"file://{tmp_path}/x/b.bin").create() as out:
        out.write(b"b")
    with copy.new_input("local:///x/b.bin").open() as stream:
        assert stream.read() == b"b"
    copy.delete(f"file://{tmp_path}/x/b.bin")
    assert not copy.new_input("local:///x/b.bin").exists()


def test_a_file_whose_write_failed_is_not_published_by_its_close(files: LakeFileIO, tmp_path: Path) -> None:
    """Arrow's Parquet writer closes its file when a write fails, before anybody else hears of it."""
    out = files.new_output("local:///t/a.bin").create()
    out.write(b"first half")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, out.fileno())
    os.close(full)
    with pytest.raises(StoreError, match=r"no space for local:///t/a\.bin on the disk of .*: [\d,.]+ of [\d,.]+ MB are free") as told:
        out.write(b"second half")
    assert told.value.errno == errno.ENOSPC
    out.close()
    assert os.listdir(tmp_path / "t") == []


def test_a_part_is_an_object_when_nobody_writes_to_it_any_more(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    part = tmp_path / "t" / ".a.bin.4711-0a0b0c0d.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    assert list(store.list("local:///t")) == []
    os.utime(part, (time.time() - 2 * 86_400,) * 2)
    assert [one.location for one in store.list("local:///t")] == [f"local:///t/{part.name}"]
