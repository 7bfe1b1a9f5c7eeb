"""What was parsed is kept, and never believed for another text than the one it came from."""

import os
from pathlib import Path
from typing import Any

import pytest

from include.config import parsed
from include.config.errors import ConfigError
from include.config.parsed import ParsedFolder, read_store, store_for, write_store


def read_all(folder: Path) -> dict[str, Any]:
    files = ParsedFolder(folder)
    found = {path.name: files.read(path) for path in sorted(folder.glob("*.yml"))}
    files.save()
    return found


@pytest.fixture
def texts_parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose text went through the parser."""
    names: list[str] = []
    original = parsed.parse_yaml

    def parse(content: bytes, path: Path) -> dict[str, Any]:
        names.append(path.name)
        return original(content, path)

    monkeypatch.setattr(parsed, "parse_yaml", parse)
    return names


def test_only_changed_files_are_parsed_again(tmp_path: Path, texts_parsed: list[str]) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yml").write_text(f"name: {name}\n")
    first = read_all(tmp_path)
    (tmp_path / "b.yml").write_text("name: other\n")
    (tmp_path / "c.yml").unlink()
    second = read_all(tmp_path)
    assert texts_parsed == ["a.yml", "b.yml", "c.yml", "b.yml"]
    assert second == {"a.yml": first["a.yml"], "b.yml": {"name": "other"}}
    assert set(read_store(store_for(tmp_path, "units.json"))) == {"a.yml", "b.yml"}


def test_an_edit_that_keeps_size_and_time_is_seen(tmp_path: Path, texts_parsed: list[str]) -> None:
    path = tmp_path / "a.yml"
    path.write_text("tier: 1\n")
    read_all(tmp_path)
    stamp = path.stat()
    path.write_text("tier: 2\n")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read_all(tmp_path) == {"a.yml": {"tier": 2}}


def test_what_json_cannot_hold_is_parsed_every_time(tmp_path: Path, texts_parsed: list[str]) -> None:
    (tmp_path / "a.yml").write_text("day: 2026-01-01\n1: one\n")
    assert read_all(tmp_path) == read_all(tmp_path)
    assert texts_parsed == ["a.yml", "a.yml"]


def test_a_broken_file_is_refused_again_and_again(tmp_path: Path, texts_parsed: list[str]) -> None:
    (tmp_path / "a.yml").write_text("name: [\n")
    for _ in range(2):
        with pytest.raises(ConfigError):
            read_all(tmp_path)


def test_a_damaged_store_is_as_none(tmp_path: Path, texts_parsed: list[str]) -> None:
    (tmp_path / "a.yml").write_text("name: a\n")
    read_all(tmp_path)
    store_for(tmp_path, "units.json").write_bytes(b'{"a.yml": [')
    assert read_all(tmp_path) == {"a.yml": {"name": "a"}}
    assert texts_parsed == ["a.yml", "a.yml"]


def test_a_store_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_store(tmp_path / "file" / "units.json", {})
    assert read_store(tmp_path / "file" / "units.json") is None
