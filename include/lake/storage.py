"""Where the lake's files lie, as pyiceberg sees it: ``local://`` on a laptop, ``s3://`` everywhere else.

``local://`` is the scheme of Trino's native local file system. Its locations are paths below one directory that every reader
configures for itself (Trino: ``local.location``, here: the property ``local.root``), so ``local:///warehouse/t`` means the
same file on both sides and no absolute path is ever stored in a table.

Catalogs get :class:`LakeFileIO` by name through pyiceberg's ``py-io-impl``; it adds ``local`` to what fsspec already reads.
"""

from __future__ import annotations

import contextlib
import os
from io import FileIO as RawFile
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.typedef import Properties

from include.atomic import name_beside
from include.lake.rights import current_rights
from include.lake.store_errors import telling

SCHEME = "local://"
ROOT_PROPERTY = "local.root"


def local_path(root: str | Path, location: str) -> Path:
    """The file that a ``local://`` location names below ``root``.

    Raises ``ValueError`` for another scheme, for a host (``local://warehouse/t`` lacks a slash) and for paths that climb out of the root.
    The path is taken as it stands: Trino does not decode percent signs, and partition folders contain them.
    """
    if not location.startswith(SCHEME + "/"):
        raise ValueError(f"location: found {location!r}; allowed: local:/// and a path; for example: local:///warehouse/raw/users")
    path = location[len(SCHEME) :].lstrip("/")
    if ".." in path.split("/"):
        raise ValueError(f"location: found {location!r}; allowed: paths below the lake's root, without '..'")
    return Path(root) / path


class LocalInput(InputFile):
    """A file of the local lake, opened for reading by pyarrow's own (lock-free) file object."""

    def __init__(self, location: str, path: Path) -> None:
        self._path = path
        super().__init__(location)

    def __len__(self) -> int:
        return self._path.stat().st_size

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def open(self, seekable: bool = True) -> InputStream:
        """The file's bytes. Raises ``FileNotFoundError`` with the location."""
        try:
            stream: InputStream = pa.OSFile(str(self._path), "rb")
        except FileNotFoundError:
            raise FileNotFoundError(2, os.strerror(2), self.location) from None
        return stream


class LocalOutput(OutputFile):
    """A file of the local lake that appears under its name complete or not at all."""

    def __init__(self, location: str, path: Path) -> None:
        self._path = path
        super().__init__(location)

    def __len__(self) -> int:
        return self._path.stat().st_size

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def to_input_file(self) -> LocalInput:
        """The same file for reading."""
        return LocalInput(self.location, self._path)

    def create(self, overwrite: bool = False) -> OutputStream:
        """A stream whose ``close`` publishes the file. ``FileExistsError`` now or at ``close`` when it exists and ``overwrite`` is off."""
        if not overwrite and self._path.exists():
            raise FileExistsError(17, os.strerror(17), self.location)
        return _AtomicFile(self._path, self.location, overwrite)


class _AtomicFile(RawFile):
    """Writes beside the final name and links there on close: readers never see half a file, and two creators cannot both succeed.

    Not synced to disk, as Trino's local file system does not sync either; the laptop's lake can be built again.
    """

    def __init__(self, path: Path, location: str, overwrite: bool) -> None:
        self._final, self._location, self._overwrite = path, location, overwrite
        self._part = name_beside(path)
        self._failed = False
        with telling(location, path):
            try:
                super().__init__(self._part, "xb")
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                super().__init__(self._part, "xb")

    def write(self, data: Any, /) -> int:
        """All of ``data``: a raw file may accept less than it was given."""
        view = memoryview(data).cast("B")
        rest = view
        try:
            with telling(self._location, self._final):
                while rest:
                    rest = rest[super().write(rest) :]
        except BaseException:
            self._failed = True  # whoever writes may close the file before the error reaches the end of the ``with`` block
            raise
        return len(view)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._failed = kind is not None
        super().__exit__(kind, error, trace)

    def __del__(self) -> None:
        self._failed = True  # collected without being closed: nobody finished it
        self.close()

    def close(self) -> None:
        """Publishes the file, or removes its traces when the ``with`` block failed."""
        if self.closed:
            return
        super().close()
        if self._failed:
            self._part.unlink(missing_ok=True)
        elif self._overwrite:
            os.replace(self._part, self._final)
        else:
            self._link()

    def _link(self) -> None:
        try:
            with telling(self._location, self._final):
                os.link(self._part, self._final)
        except FileExistsError:
            raise FileExistsError(17, os.strerror(17), self._location) from None
        finally:
            self._part.unlink(missing_ok=True)


def _s3(properties: Properties) -> Any:
    from include.lake.s3 import patient_s3  # s3fs costs a laptop, which has no S3, a third of a second

    return patient_s3(properties)


class LakeFileIO(FsspecFileIO):
    """pyiceberg's fsspec file access plus the scheme ``local``, and with S3 as :mod:`include.lake.s3` has it.

    ``local.root`` (environment: ``PYICEBERG_CATALOG__<NAME>__LOCAL__ROOT``) is the directory that Trino calls ``local.location``.
    """

    def __init__(self, properties: Properties) -> None:
        super().__init__(properties)
        self._scheme_to_fs |= dict.fromkeys(("s3", "s3a", "s3n"), _s3)

    def _local(self, location: str) -> Path:
        root = self.properties.get(ROOT_PROPERTY)
        if not root:
            raise ValueError(f"catalog property {ROOT_PROPERTY}: found nothing; allowed: the directory Trino has as local.location; needed to open {location}")
        return local_path(root, location)

    def new_input(self, location: str) -> Any:
        """A file for reading."""
        return LocalInput(location, self._local(location)) if location.startswith(SCHEME) else super().new_input(location)

    def new_output(self, location: str) -> Any:
        """A file for writing. Raises ``ForbiddenError`` where this environment may not write."""
        current_rights().check_location(location)
        return LocalOutput(location, self._local(location)) if location.startswith(SCHEME) else super().new_output(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Removes a file. ``FileNotFoundError`` when there is none; ``ForbiddenError`` for another environment's."""
        name = location if isinstance(location, str) else location.location
        current_rights().check_location(name, "delete")
        if name.startswith(SCHEME):
            self._local(name).unlink()
        else:
            super().delete(name)

    def delete_quietly(self, locations: list[str]) -> None:
        """Removes files of our own that no snapshot names; what is gone already is fine."""
        for location in locations:
            with contextlib.suppress(FileNotFoundError):
                self.delete(location)
