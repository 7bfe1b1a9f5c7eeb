"""Free ports on the loopback interface, the same on every start while they stay free."""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

from include.local.paths import write_private
from include.local.programs import ServiceError

FIRST, LAST = 20_000, 30_000  # below the ports that systems hand to outgoing connections (Linux 32768, macOS 49152)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now; connections that are still closing do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@cache
def _table() -> IO[bytes]:
    """A file whose bytes stand for ports, for all platforms of a user. Open as long as the process lives: the system forgets a process's locks on a
    file as soon as it closes it anywhere."""
    return (Path(tempfile.gettempdir()) / f"ol-ports-{os.geteuid()}").open("ab")


def _take(port: int) -> bool:
    """Whether a port is free; then it is this process's, which may take it again. Another process's is not free, even if nobody listens there yet."""
    table = _table()
    try:
        fcntl.lockf(table, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # the two words that systems have for a lock of somebody else
        return False
    return is_free(port)


class Ports:
    """The ports of one platform, by name, remembered in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self, name: str) -> int:
        """The port a running service was given. Raises ``ServiceError`` for one that was never started."""
        try:
            return self._read()[name]
        except KeyError:
            raise ServiceError(f"{name} was never started in {self._path.parent}; start the platform with: make up") from None

    def choose(self, name: str) -> int:
        """A port for a service that is about to start: the one it had, if that is free, else a new one. It is this process's until it ends: a service may
        listen only half a minute later, and no other platform is to draw the port meanwhile."""
        ports = self._read()
        if name not in ports or not _take(ports[name]):
            ports[name] = self._new(set(ports.values()))
            write_private(self._path, json.dumps(ports, indent=1, sort_keys=True))
        return ports[name]

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {str(name): int(port) for name, port in found.items()}

    @staticmethod
    def _new(taken: set[int]) -> int:
        # at random, so that two platforms that start at the same moment do not try the same port
        for port in random.sample(range(FIRST, LAST), 200):
            if port not in taken and _take(port):
                return port
        raise OSError(f"no free port found on 127.0.0.1 between {FIRST} and {LAST}")
