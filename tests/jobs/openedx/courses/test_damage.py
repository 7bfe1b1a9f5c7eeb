"""Archives that were cut or changed on their way, and archives put together at random: all or nothing, and never another error than a refusal."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import random
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.jobs.openedx.courses.load import Archive, read
from include.jobs.openedx.courses.refusals import RefusedArchiveError
from include.jobs.openedx.courses.rows import CourseKey
from include.jobs.openedx.courses.tar import ArchiveReader
from include.local.data.olx.archive import BLOCK, header, tar_parts

from .made import COURSE, ROOT_FILE, RUN_FILE, course, parsed, written

CUT, FLIPPED = 250, 250
UNUSED = {*range(100, 124), *range(136, 148), *range(265, 345), *range(500, 512)}  # of a header: rights, owners, times, devices
WHEN = datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole() -> bytes:
    return course(30, malformed=7, static_bytes=10_000).archive


def cut(whole: bytes) -> list[bytes]:
    dice = random.Random(1)
    return [whole[: dice.randrange(len(whole))] for _ in range(CUT)]


def flipped(whole: bytes) -> list[tuple[int, bytes]]:
    dice = random.Random(2)
    found = []
    for number in range(FLIPPED):
        place = number if number < 20 else dice.randrange(len(whole))  # the format's own header for certain
        found.append((place, whole[:place] + bytes([whole[place] ^ (1 << dice.randrange(8))]) + whole[place + 1 :]))
    return found


def test_a_cut_archive_is_refused_with_file_and_offset(whole: bytes) -> None:
    """R-9: nothing of it is given to anybody."""
    for archive in cut(whole):
        with pytest.raises(RefusedArchiveError, match=r"^a\.tar\.gz: .*byte \d+ of the (file|tar stream): found") as caught:
            parsed(archive)
        assert caught.value.offset <= 1 << 20


def test_a_flipped_bit_is_refused_or_changes_nothing(whole: bytes) -> None:
    """R-9: every byte that means something is covered by a checksum."""
    right = parsed(whole)
    taken = []
    for place, archive in flipped(whole):
        try:
            found = parsed(archive)
        except RefusedArchiveError:
            continue
        taken.append(place)
        assert dataclasses.replace(found, archive_sha256=right.archive_sha256) == right
    # gzip's time, hints and flags, codes that no data uses, and the bits that fill up a last byte
    assert len(taken) < 20


def test_an_archive_that_has_not_its_name_is_refused(whole: bytes, tmp_path: Path) -> None:
    """The landing zone's names are hashes of contents: there even a bit that means nothing is seen."""
    digest = hashlib.sha256(whole).hexdigest()

    def load(archive: bytes):
        url = written(tmp_path, archive, f"{digest}.xml.tar.gz")
        return read(Archive(url, CourseKey.parse(COURSE), "v", WHEN), "mitxonline", tmp_path / "static.tar.gz")

    assert load(whole).archive_sha256 == digest
    for place, archive in flipped(whole)[:30]:
        with pytest.raises(RefusedArchiveError):
            load(archive)
        assert place < 20 or archive != whole


def test_random_changes_inside_the_tar_are_refused_or_read_alike() -> None:
    """The stream is compressed again, so gzip finds nothing: what is taken must be what the standard library sees, and nothing else may be raised."""
    files = {"course.xml": ROOT_FILE, "course/1T2026.xml": RUN_FILE, "html/a.xml": b"<html/>", "static/übung.txt": b"x" * 700, "static/empty": b""}
    plain = b"".join(tar_parts("course", files))
    heads = [place for place in range(0, len(plain), BLOCK) if plain[place + 257 : place + 262] == b"ustar"]
    dice = random.Random(3)
    outcomes = {"taken": 0, "refused": 0, "unused": 0}
    for _ in range(2_000):
        changed = bytearray(plain)
        head, field = dice.choice(heads), dice.randrange(BLOCK)
        changed[head + field] = dice.choice((0, 0x20, 0x2F, 0x2E, 0x30, 0x35, 0x37, 0x78, 0x80, 0xFF, dice.randrange(256)))
        if dice.random() < 0.8:  # a header that says something else, rightly summed up
            block = changed[head : head + 148] + b" " * 8 + changed[head + 156 : head + BLOCK]
            changed[head + 148 : head + 156] = b"%06o\0 " % sum(block)
        if field in UNUSED:  # where the standard library stops reading without a word
            found = _read(bytes(changed))
            assert found is None or dict(found) == {f"course/{path}": data for path, data in files.items()}
            outcomes["unused"] += 1
        else:
            outcomes["taken" if _same_as_tarfile(bytes(changed)) else "refused"] += 1
    assert min(outcomes.values()) > 200


def _read(plain: bytes) -> list[tuple[str, bytes]] | None:
    try:
        reader = ArchiveReader(io.BytesIO(gzip.compress(plain, 1)), "a")
        return [(member.name, reader.whole()) for member in reader.members()]
    except RefusedArchiveError:
        return None


def _same_as_tarfile(plain: bytes) -> bool:
    ours = _read(plain)
    if ours is not None:
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            assert ours == [(member.name.removeprefix("./"), tar.extractfile(member).read()) for member in tar if member.isreg()]
    return ours is not None


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=150)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=1_500)), max_size=6), st.sampled_from((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)))
def test_any_archive_of_the_standard_library_is_read_alike_or_refused(files: list[tuple[str, bytes]], form: int) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(f"course/{name}")
            info.size, info.mtime = len(data), 1.5
            tar.addfile(info, io.BytesIO(data))
    _same_as_tarfile(target.getvalue())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3 * BLOCK), st.booleans())
def test_noise_is_refused(noise: bytes, after_a_member: bool) -> None:
    front = header(b"course/course.xml", len(ROOT_FILE)) + ROOT_FILE + bytes(-len(ROOT_FILE) % BLOCK) if after_a_member else b""
    for archive in (noise, gzip.compress(front + noise, 1)):
        with pytest.raises(RefusedArchiveError):
            list(ArchiveReader(io.BytesIO(archive), "a").members())
