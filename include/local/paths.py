"""Where the local platform keeps things: state inside the repository, downloads in the user's cache."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from include.atomic import creating, replacing
from include.config.files import ROOT


@dataclass(frozen=True)
class Paths:
    """The folders of one local platform. Two platforms with different ``state`` never touch each other."""

    root: Path = ROOT
    state: Path = ROOT / ".platform"
    cache: Path = field(default_factory=lambda: Path("~/.cache/ol-data-platform").expanduser())

    @property
    def logs(self) -> Path:
        """One log file for each process."""
        return self.state / "logs"

    @property
    def records(self) -> Path:
        """One file for each process that was started and not yet stopped."""
        return self.state / "run"

    @property
    def lake(self) -> Path:
        """The root of the lake's files; ``local:///warehouse/x`` is ``<lake>/warehouse/x``."""
        return self.state / "lake"

    @property
    def identity(self) -> str:
        """A word (16 hexadecimal digits) that marks this platform's processes; a copy of the state folder elsewhere has another one."""
        return hashlib.sha256(f"{self.secret('identity')} {self.state}".encode()).hexdigest()[:16]

    def prepare(self) -> None:
        """Make the folders; the state is for the user alone, since it holds passwords."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.logs, self.records, self.lake / "warehouse"):
            folder.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)

    def secret(self, name: str) -> str:
        """A random secret of 64 letters and digits, made at first use and kept in ``<state>/secrets``, readable by the user alone."""
        path = self.state / "secrets" / name
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with creating(path) as partial:
                _write_for_its_owner(partial, secrets.token_hex(32))
        return path.read_text(encoding="utf-8")


def write_private(path: Path, text: str) -> None:
    """Replace a file's content atomically, readable by the user alone; after a kill at any moment the old or the new text is there."""
    with replacing(path) as partial:
        _write_for_its_owner(partial, text)


def _write_for_its_owner(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
