"""What a dbt run has done so far, in one small JSON document that waiting tasks, a resumed run and people read.

Shape::

    {"run_key": "scheduled__2026-…", "attempt": 1, "finished": false, "selected": ["model.open_learning.dim_user", …],
     "nodes": {"model.…": {"state": "success", "seconds": 0.8, "rows": 20010, "message": "", "failures": []}, …}}

A model's ``state`` speaks for the model and its tests: ``running``, ``success``, ``failed``, ``skipped`` (something before it failed)
or ``retrying`` (a service was away; the same run tries again). Only ``success``, ``failed`` and ``skipped`` are final.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import fsspec

from include.atomic import replacing

FINAL = frozenset({"success", "failed", "skipped"})
WRITE_EVERY = 0.3
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelState:
    """How far one model is; see the module's docstring for ``state``. ``failures`` are the names of failing tests."""

    state: str
    seconds: float = 0.0
    rows: int | None = None
    message: str = ""
    failures: tuple[str, ...] = ()


@dataclass
class ProgressDocument:
    """The document as it is stored."""

    run_key: str
    attempt: int = 0
    finished: bool = False
    selected: list[str] = field(default_factory=list)
    nodes: dict[str, ModelState] = field(default_factory=dict)

    @classmethod
    def read(cls, url: str) -> ProgressDocument | None:
        """The document at a path or URL; ``None`` when there is none yet."""
        store, path = fsspec.core.url_to_fs(url)
        try:
            data = json.loads(store.cat_file(path))  # in one request: it may be replaced at any moment
        except FileNotFoundError:
            return None
        nodes = {name: ModelState(**{**node, "failures": tuple(node["failures"])}) for name, node in data["nodes"].items()}
        return cls(data["run_key"], data["attempt"], data["finished"], data["selected"], nodes)

    def write(self, url: str) -> None:
        """Stores the document so that a reader sees the old or the new one, never a part."""
        data = json.dumps(asdict(self), sort_keys=True).encode()
        if "://" in url:
            with fsspec.open(url, "wb") as stream:
                stream.write(data)
            return
        with replacing(Path(url)) as partial:
            partial.write_bytes(data)


class Progress:
    """Keeps the stored document up to date while threads report; writes at most every 0.3 s, and at once when the run ends."""

    def __init__(self, url: str, document: ProgressDocument) -> None:
        self.url = url
        self.document = document
        self._lock = threading.Lock()
        self._written = 0.0
        self._stop = threading.Event()
        self._dirty = True
        self._writer = threading.Thread(target=self._write_on, name="progress", daemon=True)

    def start(self) -> None:
        """Stores the first version and begins to follow."""
        self.flush()
        self._writer.start()

    def update(self, unique_id: str, state: ModelState) -> None:
        """Reports one model."""
        with self._lock:
            self.document.nodes[unique_id] = state
            self._dirty = True

    def finish(self, finished: bool) -> None:
        """Stores the last version of this attempt."""
        self._stop.set()
        self._writer.join()
        with self._lock:
            self.document.finished = finished
            self._dirty = True
        self.flush()

    def flush(self) -> None:
        """Stores the document if it changed."""
        with self._lock:
            if self._dirty:
                self.document.write(self.url)
                self._dirty = False
                self._written = time.monotonic()

    def _write_on(self) -> None:
        while not self._stop.wait(WRITE_EVERY):
            try:
                self.flush()
            except Exception as error:  # noqa: BLE001 - any store's; those who wait would hear nothing more until the build's end
                log.warning("the progress cannot be stored at %s, tried again: %s: %s", self.url, type(error).__name__, error)
