"""Java programs from Maven Central: fetched once, checked against pinned SHA-256 sums, kept in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
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


# A MongoDB server in Java: the wire protocol, with documents in a file of H2. Its main program knows one port only, so Rhino starts it with ours.
MONGO_VERSION, NETTY_VERSION = "1.47.0", "4.2.2.Final"
MONGO = (
    Artifact("mongo-java-server-core", "jar", MONGO_VERSION, "9a34c9ad6ac6261906295481838256033ec1efc8c93a3e3828e5d47a006b0bd4", "de.bwaldvogel"),
    Artifact("mongo-java-server-h2-backend", "jar", MONGO_VERSION, "58ca6760a25f8a05adfe8a0f7a8a042ca22bd472869028755931507cdce20e71", "de.bwaldvogel"),
    Artifact("h2", "jar", "2.3.232", "8dae62d22db8982c3dcb3826edb9c727c5d302063a67eef7d63d82de401f07d3", "com.h2database"),
    Artifact("netty-buffer", "jar", NETTY_VERSION, "4820eeb2d3db269b20b30711e3d7d21979664249aaf10fc67f90dee935810747", "io.netty"),
    Artifact("netty-codec-base", "jar", NETTY_VERSION, "76987614ccb2fda7d3292b69ba5b61351f30e91bf5c7d8fa4b51bc32c9f67456", "io.netty"),
    Artifact("netty-common", "jar", NETTY_VERSION, "5d022f3acad74cb0f195f60213500a4000d1340e5e941edaf1a0e756686b9bae", "io.netty"),
    Artifact("netty-handler", "jar", NETTY_VERSION, "d4ef582c78125457baa0cfa52992b5fb1bb9172d1a2c03b726e8b26e17d3fe2c", "io.netty"),
    Artifact("netty-resolver", "jar", NETTY_VERSION, "fa7841ffe2e39d52251814fb8560d6936b10ae7c67453ee50426b83fd5170ba0", "io.netty"),
    Artifact("netty-transport", "jar", NETTY_VERSION, "116d766a1af4722fe76a4cdaed969644985d44e08ec1337d2dbab697dd109603", "io.netty"),
    Artifact("netty-transport-native-unix-common", "jar", NETTY_VERSION, "aa8821a7ea2ca47f62740bd1f37d67deb97824cc77e76dde6ae2c439a923fc9d", "io.netty"),
    Artifact("slf4j-api", "jar", "2.0.17", "7b751d952061954d5abfed7181c1f645d336091b679891591d63329c622eb832", "org.slf4j"),
    Artifact("slf4j-nop", "jar", "2.0.17", "3716f83649ec66161a2edefd4f49df34d1dd1c51cdcf941996c6987260f0a829", "org.slf4j"),
    Artifact("rhino", "jar", "1.7.15.1", "f3520a0e2e22d550f1216a456be233eb5385bf08e3219407dece7a16369eb38f", "org.mozilla"),
)


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


def jars_home(cache: Path, name: str, artifacts: Sequence[Artifact], *, repository: str = CENTRAL, out: TextIO = sys.stderr) -> Path:
    """A folder with exactly these jars, fetched when it is not there.

    As :func:`trino_home`: complete or absent, checked, once for two callers. Raises ``FetchError``.
    """
    home = cache / f"{name}-{hashlib.sha256(''.join(artifact.sha256 for artifact in artifacts).encode()).hexdigest()[:12]}"
    if home.is_dir():
        return home
    with locked(cache / "fetch.lock"):
        if home.is_dir():
            return home
        out.write(f"fetching {name} ({len(artifacts)} jars, once; kept in {cache})\n")
        fetched = [_fetch(artifact, cache / "downloads", repository, io.StringIO()) for artifact in artifacts]  # a second or two: no bars
        staging = cache / "staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for jar in fetched:
            jar.replace(staging / jar.name)
        staging.replace(home)
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
