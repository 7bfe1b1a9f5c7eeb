"""Fetching Trino, against a local server that stands for Maven Central."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from include.local import fetch
from include.local.fetch import Artifact, FetchError, Progress, jars_home, trino_home

REPOSITORY = Path(__file__).resolve().parents[3]


def _tarball() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in ("lib/server.jar", "plugin/unused/unused.jar"):
            content = os.urandom(400_000)
            entry = tarfile.TarInfo(f"trino-server-core-9/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _plugin() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("trino-iceberg-9/iceberg.jar", os.urandom(300_000))
    return out.getvalue()


class Central:
    """Serves the two archives; ``behave`` may change how one request is answered."""

    def __init__(self) -> None:
        self.files = {"trino-server-core-9.tar.gz": _tarball(), "trino-iceberg-9.zip": _plugin()}
        self.asked: list[str] = []
        self.behave: Callable[[BaseHTTPRequestHandler, str, bytes], bool] = lambda handler, name, body: False
        self.artifacts = (
            Artifact("trino-server-core", "tar.gz", "9", self._sum("trino-server-core-9.tar.gz")),
            Artifact("trino-iceberg", "zip", "9", self._sum("trino-iceberg-9.zip")),
        )
        central = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                body = central.files.get(name)
                if body is None:
                    self.send_error(404)
                    return
                central.asked.append(name)
                if central.behave(self, name, body):
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _sum(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()

    def fetch(self, cache: Path) -> Path:
        return trino_home(cache, repository=self.url, out=io.StringIO(), artifacts=self.artifacts)


@pytest.fixture
def central() -> Iterator[Central]:
    served = Central()
    yield served
    served.server.shutdown()
    served.server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)


def _half_then_cut(handler: BaseHTTPRequestHandler, name: str, body: bytes) -> bool:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    return True


def test_unpacks_server_and_plugin_and_needs_no_network_afterwards(central: Central, tmp_path: Path) -> None:
    home = central.fetch(tmp_path)
    assert (home / "lib/server.jar").stat().st_size == 400_000
    assert (home / "plugin/iceberg/iceberg.jar").stat().st_size == 300_000
    assert not (home / "plugin/unused").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetch.lock", home.name], "archives and half-unpacked folders are left"
    central.server.shutdown()
    assert central.fetch(tmp_path) == home


def test_a_connection_cut_in_the_middle_is_tried_again(central: Central, tmp_path: Path) -> None:
    cuts = iter([True, True, False])
    central.behave = lambda handler, name, body: name.endswith("zip") and next(cuts) and _half_then_cut(handler, name, body)
    home = central.fetch(tmp_path)
    assert (home / "plugin/iceberg/iceberg.jar").stat().st_size == 300_000
    assert central.asked.count("trino-iceberg-9.zip") == 3
    assert central.asked.count("trino-server-core-9.tar.gz") == 1


def test_a_connection_always_cut_ends_with_the_reason_and_a_later_fetch_works(central: Central, tmp_path: Path) -> None:
    central.behave = _half_then_cut
    with pytest.raises(FetchError, match=r"io\.trino:trino-server-core:9:tar\.gz: could not be fetched from http"):
        central.fetch(tmp_path)
    central.behave = lambda handler, name, body: False
    assert (central.fetch(tmp_path) / "lib/server.jar").exists()


def test_a_process_killed_while_fetching_leaves_nothing_that_looks_complete(central: Central, tmp_path: Path) -> None:
    halfway = threading.Event()

    def stall(handler: BaseHTTPRequestHandler, name: str, body: bytes) -> bool:
        if name.endswith("zip"):
            _half_then_cut(handler, name, body)
            handler.wfile.flush()
            halfway.set()
            time.sleep(30)
        return name.endswith("zip")

    central.behave = stall
    program = (
        "import sys; from pathlib import Path; from include.local.fetch import Artifact, trino_home\n"
        "trino_home(Path(sys.argv[1]), repository=sys.argv[2], artifacts=(Artifact('trino-server-core', 'tar.gz', '9', sys.argv[3]),"
        " Artifact('trino-iceberg', 'zip', '9', sys.argv[4])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path), central.url, central.artifacts[0].sha256, central.artifacts[1].sha256]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as child:
        assert halfway.wait(30)
        child.send_signal(signal.SIGKILL)
    assert not list(tmp_path.glob("trino-*"))
    central.behave = lambda handler, name, body: False
    home = central.fetch(tmp_path)
    assert (home / "plugin/iceberg/iceberg.jar").stat().st_size == 300_000
    assert central.asked.count("trino-server-core-9.tar.gz") == 1, "the archive that was complete is fetched again"


def test_other_content_than_the_pinned_is_refused(central: Central, tmp_path: Path) -> None:
    good = central.files["trino-iceberg-9.zip"]
    central.files["trino-iceberg-9.zip"] = _plugin()
    with pytest.raises(FetchError, match=rf"trino-iceberg:9:zip from http.*SHA-256 is \w+; allowed: {central.artifacts[1].sha256}"):
        central.fetch(tmp_path)
    assert not list(tmp_path.glob("trino-*"))
    central.files["trino-iceberg-9.zip"] = good
    assert central.fetch(tmp_path).is_dir()


def test_a_program_of_several_jars_is_one_folder(central: Central, tmp_path: Path) -> None:
    central.files |= {"one-9.jar": os.urandom(1000), "two-9.jar": os.urandom(2000)}
    jars = [Artifact(name, "jar", "9", central._sum(f"{name}-9.jar"), "org.example") for name in ("one", "two")]
    home = jars_home(tmp_path, "program", jars, repository=central.url, out=io.StringIO())
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {name: central.files[name] for name in ("one-9.jar", "two-9.jar")}
    central.files["two-9.jar"] = os.urandom(2000)
    assert jars_home(tmp_path, "program", jars, repository=central.url, out=io.StringIO()) == home
    with pytest.raises(FetchError, match=r"two:9:jar from http.*SHA-256 is"):
        jars_home(tmp_path / "other", "program", jars, repository=central.url, out=io.StringIO())
    assert not list((tmp_path / "other").glob("program-*"))


def test_two_at_once_fetch_once(central: Central, tmp_path: Path) -> None:
    homes: list[Path] = []
    threads = [threading.Thread(target=lambda: homes.append(central.fetch(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(homes) == 4
    assert len(set(homes)) == 1
    assert sorted(central.asked) == ["trino-iceberg-9.zip", "trino-server-core-9.tar.gz"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_moves_one_line_on_a_terminal_and_writes_few_lines_elsewhere() -> None:
    terminal, plain = _Terminal(), io.StringIO()
    for out in (terminal, plain):
        progress = Progress("trino.zip", 10_000_000, out)
        for _ in range(1000):
            progress(10_000)
    assert terminal.getvalue().count("\n") == 1
    assert "\r" in terminal.getvalue()
    lines = plain.getvalue().splitlines()
    assert len(lines) == 10
    assert "100%" in lines[-1]
    assert "10 of 10 MB" in lines[-1]
