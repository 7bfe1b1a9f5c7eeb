"""The Dag bundle of one code location, in releases: what a run started with is what it ends with, however often is deployed meanwhile.

Of the bundles that come with Airflow and its providers only git's has versions, and a commit lacks half of what a run needs: the dbt
manifest, which is built, and the digests of the images of its jobs, which are known when they are pushed. So a release is an archive of
the location's DAG files, of what they import, and of those digests, named after its content. The DAG processor puts its own image's
release into the store before it parses it; whoever runs a task of an older one takes it from there.

A release holds no package: those are the running image's.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion
from airflow.sdk.exceptions import AirflowException

CODE = "include"
RELEASE = "release.json"
IGNORE = ".airflowignore"
# DAG files are looked for in dags/ alone: the code beside it speaks of Airflow and DAGs too
IGNORED = "*\n!dags/\n!dags/**\n"
LEFT_OUT = frozenset({"__pycache__", "logs", "parse"})  # bytecode, and what dbt leaves beside its manifest


class ReleaseBundle(BaseDagBundle):
    """A location's files from the image, or from an older release.

    :param root: the folder where the image has ``dags`` and ``include``.
    :param releases: where releases are kept, as Airflow's object storage paths: ``s3://object_store@bucket/releases``, ``file:///…``.
    :param dags: the location's DAG files: patterns below ``dags``, divided by blanks (the chart takes no lists).
    :param release: texts that belong to the release and are in no file: ``OL_IMAGE_TAG``, ``OL_IMAGE_DIGESTS``.
    :param service_account: whom ``airflow_local_settings`` has the pods of the location's tasks run as, and ``image`` from what.
    """

    supports_versioning = True

    def __init__(
        self, *, root: str, releases: str, dags: str, release: dict[str, str] | None = None, service_account: str = "", image: str = "", **bundle: Any
    ) -> None:
        super().__init__(**bundle)
        self.root = Path(root)
        self.releases = releases
        self.dags = dags.split()
        self.release = json.dumps(release or {}, sort_keys=True).encode()
        self._deployed = ""

    @property
    def path(self) -> Path:
        """The folder with the release's files, there after :meth:`initialize`."""
        if self.version and self.version != self._deployed:
            return Path(self.versions_dir) / self.version
        return Path(self.base_dir) / "deployed" / (self._deployed or "none")

    def initialize(self) -> None:
        """Makes the release's files available. Raises ``AirflowException`` for a release that is nowhere."""
        if self.version is None:
            self.refresh()
        else:
            found = _version_of(self._files(), self.release)
            if found == self.version:
                self._deployed = found
                self._show()
            else:
                self._fetch(self.version)
                self._come_first()
        super().initialize()

    def _come_first(self) -> None:
        """Lets this process import the release's code and not the image's, which may be on its path."""
        loaded = getattr(sys.modules.get(CODE), "__path__", [])
        if any(not Path(place).is_relative_to(self.path) for place in loaded):
            raise AirflowException(
                f"release {self.version} of location {self.name}: this process has imported {loaded[0]} already; two releases cannot be mixed"
            )
        if sys.path[0] != str(self.path):
            sys.path.insert(0, str(self.path))

    def refresh(self) -> None:
        """Takes up what the image holds now. A release that could not be kept is not used: a run that began with it could not go on."""
        found = _version_of(self._files(), self.release)
        if found != self._deployed or not self.path.exists():
            self._keep(found)
            self._deployed = found
            self._show()

    def get_current_version(self) -> BundleVersion:
        """The name of the release: sixteen hexadecimal digits of its content's hash."""
        return BundleVersion(version=self.version or self._deployed)

    # --- the image's own release ----------------------------------------------------------------------------------------------------

    def _files(self) -> dict[str, bytes]:
        """Every file of the release by its path, but ``release.json``. Raises ``AirflowException`` for an image that holds no DAG files at all."""
        if not (self.root / "dags").is_dir():
            raise AirflowException(f"location {self.name}: found no folder {self.root / 'dags'}; allowed: the folder of the image that has dags and include")
        dags = {path for pattern in self.dags for path in (self.root / "dags").glob(pattern) if path.is_file()}
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in sorted({*dags, *_code(self.root / CODE)})}

    def _show(self) -> None:
        """The location's view of the image: links to its files, since bytecode lies beside the files themselves."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.path.parent))
        (folder / IGNORE).write_text(IGNORED, encoding="utf-8")
        (folder / CODE).symlink_to(self.root / CODE, target_is_directory=True)
        (folder / "dags").mkdir()
        for path in (path for name in self._files() if (path := Path(name)).parts[0] == "dags"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(self.root / path)
        _move(folder, self.path)

    # --- the store ------------------------------------------------------------------------------------------------------------------

    @cached_property
    def _store(self) -> Any:
        from airflow.sdk import ObjectStoragePath

        return ObjectStoragePath(self.releases) / self.name

    def _keep(self, version: str) -> None:
        target = self._store / f"{version}.tar.gz"
        if target.exists():
            return
        self._store.mkdir(parents=True, exist_ok=True)
        data = _packed({**self._files(), RELEASE: self.release, IGNORE: IGNORED.encode()})
        if self._store.protocol == "file":  # other stores show an object when it is whole
            partial = Path(f"{self._store.path}/.{version}.{os.getpid()}")
            partial.write_bytes(data)
            partial.replace(target.path)
        else:
            target.write_bytes(data)

    def _fetch(self, version: str) -> None:
        """Unpacks a release of the store. It is checked: a release is what its name says."""
        with self.lock():
            if self.path.exists():
                return
            try:
                data = (self._store / f"{version}.tar.gz").read_bytes()
            except FileNotFoundError:
                told = f"release {version} of location {self.name} is not in {self.releases}: it was removed there, and this image has another one"
                raise AirflowException(f"{told}. Clear the run with the latest version instead") from None
            self.path.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.path.parent))
            try:
                with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
                    archive.extractall(folder, filter="data")
                found = _version_of(_unpacked(folder), (folder / RELEASE).read_bytes())
                if found != version:
                    raise AirflowException(f"release {version} of location {self.name} in {self.releases}: its content is that of {found}")
                _move(folder, self.path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _code(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not LEFT_OUT & set(path.relative_to(folder).parts):
            yield path


def _unpacked(folder: Path) -> dict[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if name not in (RELEASE, IGNORE)}


def _version_of(files: dict[str, bytes], release: bytes) -> str:
    digest = hashlib.sha256(release)
    for name in sorted(files):
        digest.update(f"\0{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()[:16]


def _packed(files: dict[str, bytes]) -> bytes:
    """The same bytes for the same files, whoever packs them and when."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def _move(folder: Path, target: Path) -> None:
    """Puts a finished folder in its place; of two processes that made the same one, the first."""
    folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(folder, ignore_errors=True)
