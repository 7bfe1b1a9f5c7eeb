"""Blocks of whole lines, whatever the object: cut, flipped, of one endless line, or a bomb."""

from __future__ import annotations

import gzip
import io
import random
import time

import pytest
from isal import igzip

from include.jobs.openedx.tracking_logs import reading
from include.jobs.openedx.tracking_logs.reading import Block, Refused, UnreadableError, read_blocks

from .conftest import ROUNDS, asked, event

LINES = b"".join(event(number) for number in range(300))


def read(data: bytes, *, packed: bool = True) -> list[Block | Refused]:
    return list(read_blocks(io.BytesIO(data), "s3://logs/a.gz", gzip=packed))


def text_of(items: list[Block | Refused]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, Block))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 1 kB and lines of 4 kB at most, so that little text has many of them."""
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(reading, "LINE_LIMIT", 4 << 10)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
def test_blocks_are_whole_lines_with_their_places(packed: bool) -> None:
    items = read(gzip.compress(LINES) if packed else LINES, packed=packed)
    assert text_of(items) == LINES
    assert len(items) > 50
    offset = 0
    for item in items:
        assert isinstance(item, Block)
        assert item.offset == offset
        assert not item.open_end
        offset += len(item.data)


@pytest.mark.usefixtures("small")
def test_cuts_do_not_depend_on_the_packing() -> None:
    """Equal text gives equal blocks, so equal objects in the landing zone."""
    several = b"".join(gzip.compress(LINES[at : at + 7_777], 1) for at in range(0, len(LINES), 7_777))
    assert read(gzip.compress(LINES)) == read(several) == read(LINES, packed=False)


@pytest.mark.usefixtures("small")
def test_long_lines_are_held_up_to_the_limit_and_then_refused() -> None:
    """S-18: a line above the limit is told by its place and length, and what follows is read."""
    just, over = b"x" * (4 << 10), b"y" * (4 << 10) + b"z" * 9_000
    text = event(1) + just[:-1] + b"\n" + event(2) + over + b"\n" + event(3) + over
    items = read(gzip.compress(text))
    refused = [item for item in items if isinstance(item, Refused)]
    first = len(event(1)) + len(just) + len(event(2))
    assert [(one.offset, one.length) for one in refused] == [(first, len(over)), (first + len(over) + 1 + len(event(3)), len(over))]
    assert all("longer than 4,096 bytes" in one.reason and one.found.startswith(b"yyy") for one in refused)
    assert text_of(items) == event(1) + just[:-1] + b"\n" + event(2) + event(3)


def test_a_plain_file_that_ends_in_a_long_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(reading, "LINE_LIMIT", 4 << 10)
    with pytest.raises(UnreadableError, match="ends within a line"):
        read(event(1) + b"y" * 9_000, packed=False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the object is empty"),
        (gzip.compress(LINES)[:-1], "ended before"),
        (gzip.compress(LINES)[:500], "ended before"),
        (gzip.compress(LINES) + b"more of something else", "Not a gzip"),
        (b"plain text\n", "Not a gzip"),
        (gzip.compress(LINES)[:-8] + b"\x00\x00\x00\x00" + gzip.compress(LINES)[-4:], "CRC"),
    ],
    ids=["empty", "a byte short", "cut", "something behind", "no gzip", "wrong sum"],
)
def test_what_is_no_whole_gzip_stream(data: bytes, reason: str) -> None:
    """R-9: refused with the file and how far it could be read."""
    with pytest.raises(UnreadableError, match=reason) as caught:
        read(data)
    assert str(caught.value).startswith("s3://logs/a.gz: no whole gzip stream")
    assert 0 <= caught.value.position <= len(data)
    assert caught.value.offset <= len(LINES)


def test_cut_and_flipped_streams_are_refused_or_unchanged(request: pytest.FixtureRequest) -> None:
    """R-9: never a text that differs from the one that was packed."""
    packed = gzip.compress(LINES)
    dice = random.Random(9)
    rounds = asked(request.config, ROUNDS, 300)
    refused = 0
    for number in range(rounds):
        place = dice.randrange(len(packed))
        damaged = packed[:place] if number % 2 else packed[:place] + bytes([packed[place] ^ (1 << dice.randrange(8))]) + packed[place + 1 :]
        try:
            assert text_of(read(damaged)) == LINES, "a flip in the header's time or system changes nothing"
        except UnreadableError:
            refused += 1
    assert refused > 0.9 * rounds


@pytest.mark.parametrize(("size", "name"), [(1 << 30, "1 GB"), (10 << 30, "10 GB")])
def test_bombs_end_early(size: int, name: str) -> None:
    """S-18: the ratio gives a bomb away after 64 MB, however much is in it; 10 GB of zeros are 10 MB of gzip."""
    zeros = igzip.compress(bytes(64 << 20), 3)
    bomb = io.BytesIO(zeros * (size // (64 << 20)))
    begin = time.process_time()
    with pytest.raises(UnreadableError, match="inflates to more than 250 times its size") as caught:
        list(read_blocks(bomb, name, gzip=True))
    assert caught.value.offset < 160 << 20
    assert time.process_time() - begin < 2


def test_repetitive_logs_are_no_bombs() -> None:
    """Lines that differ in nothing but a number inflate some 60 times."""
    text = b"".join(event(number, event={"text": "a" * 3000}) for number in range(30_000))
    assert len(text) > reading.RATIO_FROM
    assert len(text_of(read(igzip.compress(text, 3)))) == len(text)
