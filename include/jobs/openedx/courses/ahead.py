"""Makes the items of an iterator in a thread, a few ahead of whoever takes them: inflating and hashing need no interpreter lock."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_PATIENCE = 0.1


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class _Maker(Generic[T]):
    def __init__(self, items: Iterator[T], most: int) -> None:
        self._items = items
        self.waiting: queue.Queue[T | _End] = queue.Queue(most)
        self.over = threading.Event()

    def work(self) -> None:
        try:
            for item in self._items:
                if not self._offer(item):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the items are taken
            self._offer(_End(error))
        else:
            self._offer(_End())

    def _offer(self, item: T | _End) -> bool:
        while not self.over.is_set():
            try:
                self.waiting.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return True
        return False


def ahead(items: Iterator[T], most: int) -> Generator[T, None, None]:
    """The same items in the same order, at most ``most`` of them waiting; an error is raised where its item would have come.

    The thread ends with the items, or when the caller closes or forgets this iterator.
    """
    maker = _Maker(items, most)
    thread = threading.Thread(target=maker.work, name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := maker.waiting.get(), _End):
            yield item
        if item.error:
            raise item.error
    finally:
        maker.over.set()
        thread.join()
