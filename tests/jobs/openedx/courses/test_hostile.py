"""Archives and documents that mean harm: refused or quarantined with their place, within bounds, and without a file or socket being opened (S-1, S-2, S-3)."""

from __future__ import annotations

import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.config.files import ROOT
from include.jobs.openedx.courses.refusals import Limits, RefusedArchiveError
from include.jobs.openedx.courses.tar import ArchiveReader

from .attacks import SECRET, bombs, xml_attacks
from .hostile import TAKEN
from .made import archive_of

# The bounds of S-2 are 2 s and 200 MB. Seconds are those of the process; on a machine with other work they stretch.
SECONDS, KILOBYTES = 4.0, 200 << 10


def audited(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.jobs.openedx.courses.audited", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_three_hundred_hostile_archives() -> None:
    """S-1: every one is refused with file and offset, or holds nothing but plain relative names; nothing is written anywhere."""
    found = audited("corpus")
    assert found["events"] == []
    wrong = {}
    for name, result in found["results"].items():
        if [result["outcome"], len(result.get("quarantined", []))] != found["right"][name]:
            wrong[name] = result
        elif result["outcome"] == TAKEN:
            assert all(path and ".." not in path.split("/") and not path.startswith("/") for path in result["paths"])
        else:
            assert result["message"].startswith("a.tar.gz: ")
            assert f"byte {result['offset']} of the " in result["message"]
        assert result["seconds"] < SECONDS, name
    assert wrong == {}
    assert len(found["results"]) >= 300


@pytest.fixture(scope="module")
def bomb_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bombs")
    files = {}
    for number, (name, archive) in enumerate(bombs()):
        files[name] = folder / f"{number}.tar.gz"
        files[name].write_bytes(archive)
    return files


BOMBS = (
    "1 GB in one member", "1 GB in members of 200 MB", "an XML member of 1 GB", "an XML member of 200 MB", "1 GB after the end of the archive",
    "10 GB of zeros", "10 GB in one member", "80 MB of XML", "80 MB of JSON", "a gzip bomb in a gzip bomb", "a million empty gzip members",
)  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_within_bounds(name: str, bomb_files: dict[str, Path]) -> None:
    """S-2: refused in time and memory that do not depend on what is inside; the child reads nothing but this archive."""
    assert set(bomb_files) == set(BOMBS)
    found = audited("read", str(bomb_files[name]))
    assert found["outcome"] == "refused"
    assert found["seconds"] < SECONDS
    assert found["kilobytes"] < KILOBYTES


def test_archives_in_archives_are_content_and_bounded_when_they_are_opened() -> None:
    inner = archive_of({})
    for depth in (1, 3):
        assert [member.name for member in ArchiveReader(io.BytesIO(inner), "a", depth=depth).members()]
    with pytest.raises(RefusedArchiveError, match="an archive inside 3 others; allowed: at most 3 levels"):
        ArchiveReader(io.BytesIO(inner), "a", depth=4)


def test_limits_are_those_that_are_promised() -> None:
    limits = Limits()
    assert (limits.ratio, limits.member_bytes, limits.total_bytes, limits.members, limits.depth) == (200, 256 << 20, 4 << 30, 200_000, 3)


@pytest.fixture
def connections() -> Iterator[tuple[str, list[str]]]:
    """A web server's address, and the requests that it got."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_xml_attacks(tmp_path: Path, connections: tuple[str, list[str]]) -> None:
    """S-3: a document type is refused in every disguise, what is harmless stays as it stands; 0 files, 0 sockets, 0 requests, bounded time."""
    address, requests = connections
    file, pipe = tmp_path / "secret", tmp_path / "pipe"
    file.write_text(SECRET, encoding="utf-8")
    os.mkfifo(pipe)  # whoever opens it for reading waits for a writer that never comes, also where Python sees nothing
    found = audited("xml", str(file), str(pipe), address)
    assert found["events"] == []
    assert requests == []
    assert SECRET not in json.dumps(found)
    attacks = list(xml_attacks(str(file), str(pipe), address))
    assert len(attacks) == len(found["results"]) > 60
    for attack in attacks:
        result = found["results"][attack.name]
        assert result["outcome"] == "taken", attack.name
        refused = [] if attack.taken else ["course/course/1T2026.xml", "course/problem/b.xml", "course/video/v.xml"]
        assert result["quarantined"] == refused, attack.name
        blocks = ["course/problem/a.xml", "course/problem/b.xml", "course/video/v.xml"]
        assert result["blocks"] == (blocks if attack.taken else blocks[:1]), attack.name
        assert result["seconds"] < SECONDS, attack.name
