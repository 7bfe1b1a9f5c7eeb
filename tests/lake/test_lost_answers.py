"""A commit whose answer never arrives: the table decides, not the error."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError

from include.lake.catalog import open_catalog
from include.lake.writes import append_once

from .children import ROWS_PER_BATCH, batch_of
from .conftest import CATALOG


class Proxy:
    """Stands before PostgreSQL and cuts connections at COMMIT: after it was carried out, or before it is passed on."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lose_answers = 0.0
        self.lose_requests = 0.0
        self.lost = 0
        self._dice = random.Random(7)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            muted = threading.Event()
            threading.Thread(target=self._requests, args=(client, server, muted), daemon=True).start()
            threading.Thread(target=self._answers, args=(client, server, muted), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        while data := receive(client):
            if b"COMMIT" in data:
                dice = self._dice.random()
                if dice < self.lose_requests:
                    self.lost += 1
                    break
                if dice < self.lose_requests + self.lose_answers:
                    self.lost += 1
                    muted.set()
            server.sendall(data)
        shut(server)
        shut(client)

    @staticmethod
    def _answers(client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        while data := receive(server):
            if muted.is_set():  # PostgreSQL has carried the COMMIT out: this is its answer
                break
            try:
                client.sendall(data)
            except OSError:
                break
        shut(client)
        shut(server)


def receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


@pytest.fixture
def proxy(catalog_properties: dict[str, str]) -> Iterator[Proxy]:
    address = urlsplit(catalog_properties["uri"])
    stands = Proxy(address.hostname, address.port)
    yield stands
    stands.close()


@pytest.fixture
def proxied(new_table, proxy: Proxy, catalog_properties: dict[str, str]) -> Table:
    """A table whose catalog is reached through the proxy."""
    port = urlsplit(catalog_properties["uri"]).port
    uri = catalog_properties["uri"].replace(f":{port}/", f":{proxy.port}/") + "?sslmode=disable"
    return open_catalog(CATALOG, {**catalog_properties, "uri": uri}).load_table(new_table().name())


def test_thirty_in_a_hundred_answers_lost(proxied: Table, proxy: Proxy) -> None:
    proxy.lose_answers = 0.3
    results = [append_once(proxied, batch_of(number), f"run:{number}") for number in range(100)]
    proxy.lose_answers = 0.0
    assert all(result.committed for result in results)
    assert proxy.lost >= 20
    proxied.refresh()
    assert len(proxied.metadata.snapshots) == 100
    assert proxied.scan().count() == 100 * ROWS_PER_BATCH
    assert len({result.snapshot_id for result in results}) == 100


def test_a_commit_that_never_arrived_is_an_error_and_the_next_attempt_writes(proxied: Table, proxy: Proxy) -> None:
    proxy.lose_requests = 1.0
    with pytest.raises(OperationalError):
        append_once(proxied, batch_of(1), "run:1")
    proxy.lose_requests = 0.0
    assert append_once(proxied, batch_of(1), "run:1").committed
    assert proxied.scan().count() == ROWS_PER_BATCH
