"""What the last maintenance knew of every table, and its report: one compressed JSON object for each run of a group.

An object is never changed, and goes when it has had its time. To lose one costs the next run its reads, nothing else.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import fsspec
from pydantic import TypeAdapter, ValidationError

from include.atomic import is_unfinished, replacing
from include.contract import PermanentError
from include.lake.maintenance.model import Known, Outcome
from include.lake.store_errors import StoreError, telling


@dataclass(frozen=True)
class Night:
    """A run of a group."""

    group: str
    run_key: str
    known: dict[str, Known] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()


_NIGHT = TypeAdapter(Night)
_ENDING = ".json.gz"


@dataclass(frozen=True)
class Nights:
    """The objects of one group below ``prefix``, a folder or a URL."""

    prefix: str
    group: str

    def url(self, run_key: str) -> str:
        """Where the run with this key is kept."""
        return f"{self.prefix.rstrip('/')}/{self.group}/{hashlib.sha256(run_key.encode()).hexdigest()[:24]}{_ENDING}"

    def known(self, url: str) -> Mapping[str, Known]:
        """What a run remembered; nothing for an empty address or an object that is gone. Raises ``PermanentError`` for what is none of this group's."""
        if not url:
            return {}
        files, path = fsspec.core.url_to_fs(url)
        try:
            with _naming(url):
                data = files.cat_file(path)
        except FileNotFoundError:
            return {}
        try:
            night = _NIGHT.validate_json(gzip.decompress(data))
        except (OSError, EOFError, ValidationError) as error:
            raise PermanentError(f"{url}: found {data[:40]!r}; allowed: what an earlier maintenance kept, or an empty text ({error})") from error
        if night.group != self.group:
            raise PermanentError(f"{url}: found the state of {night.group!r}; allowed: that of {self.group!r}")
        return night.known

    def write(self, night: Night) -> str:
        """Keeps a run; its address."""
        url = self.url(night.run_key)
        files, path = fsspec.core.url_to_fs(url)
        data = gzip.compress(_NIGHT.dump_json(night), 6, mtime=0)
        if files.protocol not in {"file", ("file", "local")}:
            with _naming(url):
                files.pipe_file(path, data)
            return url
        with telling(url, Path(path)), replacing(Path(path)) as partial:
            partial.write_bytes(data)
        return url

    def forget(self, before: datetime, keep: str) -> int:
        """Removes the group's objects that were written before; never the one at the address ``keep``, which the next run goes on from. How many went."""
        files, root = fsspec.core.url_to_fs(f"{self.prefix.rstrip('/')}/{self.group}")
        _, kept = fsspec.core.url_to_fs(keep)
        with _naming(f"{self.prefix.rstrip('/')}/{self.group}"):
            ours = [path for path in files.find(root) if (path.endswith(_ENDING) or is_unfinished(path.rpartition("/")[2])) and path != kept]
            old = [path for path in ours if files.modified(path) < before]
            for path in old:
                files.rm_file(path)
        return len(old)


@contextlib.contextmanager
def _naming(url: str) -> Iterator[None]:
    """Says of which object a store's error is: fsspec's own errors do not."""
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except OSError as error:
        raise StoreError(f"{url}: the store of the state: {error}") from error


def totals(outcomes: tuple[Outcome, ...]) -> dict[str, int]:
    """A run in numbers."""
    return {
        "tables": len(outcomes),
        "changed": sum(1 for one in outcomes if one.done),
        "failed": sum(1 for one in outcomes if one.error),
        "expired": sum(one.expired for one in outcomes),
        "moved": sum(one.moved for one in outcomes),
        "bytes_before": sum(one.bytes_before for one in outcomes),
        "bytes_after": sum(one.bytes_after for one in outcomes),
    }
