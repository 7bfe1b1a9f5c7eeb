"""Trino from Maven Central: fetched once, checked against pinned SHA-256 sums, unpacked into the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

CENTRAL = "https://repo.maven.apache.org/maven2"
ATTEMPTS = 3
TIMEOUT_SECONDS = 60


class FetchError(RuntimeError):
    """An artifact could not be fetched, or what came is not what was published."""


@dataclass(frozen=True)
class Artifact:
    """One file of Maven Central: its coordinates and the SHA-256 of its content, taken when the version was chosen."""

    name: str
    packaging: str
    version: str
    sha256: str
    group: str = "io.trino"

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}:{self.packaging}"


# 476 is the last version of which Maven Central has the server and all plugins
TRINO_VERSION = "476"
SERVER = Artifact("trino-server-core", "tar.gz", TRINO_VERSION, "0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158")
ICEBERG = Artifact("trino-iceberg", "zip", TRINO_VERSION, "99edba5b491ed94d599aeb61e0794272d3569d8b563f3bb8569e8a49daa87b6c")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; it is freed by the system when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Progress:
    """Shows how far a download is: one line that moves on a terminal, a line for every tenth elsewhere."""

    def __init__(self, name: str, total: int, out: TextIO) -> None:
        self._name, self._total, self._out = name, max(total, 1), out
        self._done, self._shown, self._started, self._last = 0, 0, time.monotonic(), 0.0

    def __call__(self, size: int) -> None:
        """Count ``size`` more bytes."""
        self._done += size
        if self._out.isatty():
            if time.monotonic() - self._last > 0.1 or self._done >= self._total:
                self._last = time.monotonic()
                self._out.write("\r" + self._text() + ("\n" if self._done >= self._total else ""))
                self._out.flush()
        elif self._done * 10 // self._total > self._shown:
            self._shown = self._done * 10 // self._total
            self._out.write(self._text() + "\n")
            self._out.flush()

    def _text(self) -> str:
        share = min(self._done / self._total, 1.0)
        speed = self._done / max(time.monotonic() - self._started, 0.001) / 1e6
        bar = "#" * int(share * 30)
        return f"{self._name:<32} [{bar:<30}] {share:4.0%}  {self._done / 1e6:5.0f} of {self._total / 1e6:.0f} MB  {speed:5.1f} MB/s"


def trino_home(cache: Path, *, repository: str = CENTRAL, out: TextIO = sys.stderr, artifacts: tuple[Artifact, Artifact] = (SERVER, ICEBERG)) -> Path:
    """The folder of an unpacked Trino with the Iceberg plugin, fetched when it is not there: ``lib/*.jar``, ``plugin/iceberg/*.jar``.

    The folder appears with one rename after everything was checked and unpacked, so an interrupted fetch leaves nothing that
    looks finished. Two callers at once fetch once. Raises ``FetchError``.
    """
    server, iceberg = artifacts
    home = cache / f"trino-{server.version}-{server.sha256[:6]}{iceberg.sha256[:6]}"
    if home.is_dir():
        return home
    with locked(cache / "fetch.lock"):
        if home.is_dir():
            return home
        staging = cache / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        out.write(f"fetching Trino {server.version} (about 550 MB, once; kept in {cache})\n")
        archives = [_fetch(artifact, cache / "downloads", repository, out) for artifact in artifacts]
        unpacked = _unpack(server, iceberg, archives, staging)
        unpacked.replace(home)
        shutil.rmtree(staging)
        shutil.rmtree(cache / "downloads")
    return home


def _unpack(server: Artifact, iceberg: Artifact, archives: list[Path], staging: Path) -> Path:
    with tarfile.open(archives[0]) as archive:
        if hasattr(tarfile, "data_filter"):  # Python 3.11.4; Debian 12 has 3.11.2
            archive.extractall(staging, filter="data")
        else:
            archive.extractall(staging)  # noqa: S202 - its content was checked against a pinned sum
    home = staging / f"{server.name}-{server.version}"
    shutil.rmtree(home / "plugin", ignore_errors=True)  # every plugin costs start time; only Iceberg is used
    with zipfile.ZipFile(archives[1]) as archive:
        archive.extractall(staging / "plugin")  # noqa: S202 - its content was checked against a pinned sum
    (home / "plugin").mkdir()
    (staging / "plugin" / f"{iceberg.name}-{iceberg.version}").rename(home / "plugin" / "iceberg")
    return home


def _fetch(artifact: Artifact, downloads: Path, repository: str, out: TextIO) -> Path:
    """The artifact's archive, checked. An archive that an earlier, interrupted fetch completed is used again."""
    kept = downloads / f"{artifact.name}-{artifact.version}.{artifact.packaging}"
    if kept.exists() and _sha256(kept) == artifact.sha256:
        return kept
    downloads.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            resolved = _resolve(artifact, downloads / "partial", repository, out)
            break
        except (OSError, RuntimeError) as error:  # what requests and jgo raise
            out.write(f"{artifact}: attempt {attempt} of {ATTEMPTS}: {error}\n")
            if attempt == ATTEMPTS:
                raise FetchError(f"{artifact}: could not be fetched from {repository}: {error}") from error
            time.sleep(attempt)
    found = _sha256(resolved)
    if found != artifact.sha256:
        resolved.unlink()
        raise FetchError(f"{artifact} from {repository}: SHA-256 is {found}; allowed: {artifact.sha256}")
    resolved.replace(kept)
    return kept


def _resolve(artifact: Artifact, folder: Path, repository: str, out: TextIO) -> Path:
    """One download by jgo into an empty folder: jgo takes a file left there by an interrupted download for a complete one."""
    from jgo.maven import MavenContext, PythonResolver  # costs half a second, needed once

    shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
        yield Progress(name, total, out)

    context = MavenContext(
        resolver=PythonResolver(progress_callback=progress),
        repo_cache=folder,
        remote_repos={"central": repository},
        timeout=TIMEOUT_SECONDS,
    )
    return Path(context.project(artifact.group, artifact.name).at_version(artifact.version).artifact(packaging=artifact.packaging).resolve())


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
