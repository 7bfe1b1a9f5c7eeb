"""A process forks while a thread of its asks for a secret, as Airflow's supervisor may for a task: nothing of that thread stays locked in the child."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest
import secret_sources
from secret_sources import SecretsUnavailableError, Store

WHAT = ("platform", "connections", "airbyte")


class Slow:
    """A source that holds a lock for as long as its answer takes, as an import or a client does."""

    name = "slow"

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.made_by = threading.current_thread()
        self.asked_by: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.begun = threading.Event()
        self.over = threading.Event()

    def fetch(self, location: str, kind: str, key: str) -> str:
        """Takes its time."""
        with self.lock:
            self.asked_by.append(threading.current_thread())
            self.begun.set()
            self.over.wait(self.seconds)
        return key


@pytest.fixture
def stores() -> Iterator[dict[object, Store]]:
    secret_sources._stores.clear()
    yield secret_sources._stores
    secret_sources._stores.clear()


def asking(store: Store, source: Slow) -> threading.Thread:
    """A thread whose request is under way."""

    def ask() -> None:
        with contextlib.suppress(SecretsUnavailableError):
            store.get(WHAT)

    thread = threading.Thread(target=ask)
    thread.start()
    assert source.begun.wait(60)
    return thread


def forked_child_takes(lock: threading.Lock) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=0.5) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_waits_for_the_answer(stores: dict[object, Store]) -> None:
    source = Slow(0.7)
    stores["slow"] = store = Store(lambda: source, timeout=5, fresh=0)
    thread = asking(store, source)
    assert forked_child_takes(source.lock)
    thread.join()
    assert store.get(WHAT) == "airbyte"


def test_without_that_the_child_would_wait_for_ever(stores: dict[object, Store]) -> None:
    source = Slow(30)
    unknown = Store(lambda: source, timeout=5, fresh=0)  # to nobody who forks
    thread = asking(unknown, source)
    assert not forked_child_takes(source.lock)
    source.over.set()
    thread.join()


def test_a_fork_does_not_wait_longer_than_an_answer_may_take(stores: dict[object, Store]) -> None:
    source = Slow(30)
    stores["slow"] = store = Store(lambda: source, timeout=2, fresh=0)
    thread = asking(store, source)
    began = time.monotonic()
    assert not forked_child_takes(source.lock)
    assert time.monotonic() - began < 20
    source.over.set()
    thread.join()


def test_no_answer_in_time_is_told(stores: dict[object, Store]) -> None:
    source = Slow(30)
    with pytest.raises(SecretsUnavailableError, match=r"slow is unavailable \(no answer within 0.2 s\)"):
        Store(lambda: source, timeout=0.2, fresh=0).get(WHAT)
    source.over.set()


def test_clients_are_made_by_who_asks(stores: dict[object, Store]) -> None:
    made: list[Slow] = []
    store = Store(lambda: made.append(Slow(0)) or made[-1], timeout=5, fresh=0)
    assert store.get(WHAT) == "airbyte"
    assert made[0].made_by is threading.current_thread(), "an import in another thread could be cut off by a fork"
    assert made[0].asked_by != [threading.current_thread()]
