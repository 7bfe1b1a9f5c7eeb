"""Free ports on the loopback interface, the same on every start while they stay free."""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

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
        """A port for a service that is about to start: the one it had, if that is free, else a new one."""
        ports = self._read()
        if name not in ports or not is_free(ports[name]):
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
            if port not in taken and is_free(port):
                return port
        raise OSError(f"no free port found on 127.0.0.1 between {FIRST} and {LAST}")
