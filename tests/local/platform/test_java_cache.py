"""Java's cache of Trino: made once and whole, by a server that is a script here; the real one's start is looked at in its log."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from include.local.engine import JVM
from include.local.java_cache import PREFIX, cache_name, java_cache
from include.local.platform import Platform
from include.local.programs import ServiceError

# like Java: says that it is ready, waits for its end, and writes the file named by its flag while it ends
WRITES = 'trap \'sleep 0.2; echo classes >"${1#*=}"; exit 143\' TERM; touch "$0/ready"; while :; do sleep 0.05; done'
WRITES_NOTHING = 'trap "exit 143" TERM; touch "$0/ready"; while :; do sleep 0.05; done'
ENDS = "echo no heap for you; exit 1"


def server(script: str) -> Callable[[Path, str], Sequence[str]]:
    return lambda folder, flag: ("sh", "-c", script, str(folder), flag)


def ready(folder: Path) -> bool:
    return (folder / "ready").exists()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "trino-9"
    folder.mkdir()
    return folder


def test_it_is_made_once_and_told(home: Path) -> None:
    out = io.StringIO()
    made = java_cache(home, JVM, server(WRITES), ready, out)
    assert made.read_text() == "classes\n"
    assert out.getvalue().startswith("preparing Trino for quick starts (once")
    assert java_cache(home, JVM, server(ENDS), ready, out) == made, "there is nothing to start a second time"
    assert [path.name for path in home.parent.glob(f"{PREFIX}*/")] == []


def test_another_set_of_flags_has_another(home: Path) -> None:
    assert cache_name(home, JVM) != cache_name(home, (*JVM, "-Xmx2G"))
    assert cache_name(home, JVM) == cache_name(home, tuple(JVM))


@pytest.mark.parametrize(("script", "said"), [(ENDS, "no heap for you"), (WRITES_NOTHING, "left no cache")])
def test_a_server_that_fails_says_so_and_the_next_start_tries_again(home: Path, script: str, said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        java_cache(home, JVM, server(script), ready, io.StringIO())
    assert list(home.parent.glob("*.aot")) == []
    assert java_cache(home, JVM, server(WRITES), ready, io.StringIO()).exists()


def test_what_a_killed_start_left_is_removed(home: Path) -> None:
    left = home.parent / f"{PREFIX}left"
    left.mkdir()
    (left / "half.aot").write_text("cla")
    java_cache(home, JVM, server(WRITES), ready, io.StringIO())
    assert not left.exists()


@pytest.mark.lake
def test_trino_starts_from_it(lake: Platform) -> None:
    """Java says so in the log when it refuses a cache, and starts without."""
    log = (lake.paths.logs / "trino.log").read_text(encoding="utf-8")
    assert "[aot]" not in log
    assert (lake.paths.cache / cache_name(next(lake.paths.cache.glob("trino-*/")), JVM)).exists()
