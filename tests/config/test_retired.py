"""No unit disappears unnoticed: what was deleted stands in ``retired.yml``, and what stands there is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.config.errors import ConfigError
from include.config.files import ROOT, UNITS
from include.config.load import KINDS
from include.config.retired import load_retired
from tests.config.history import deleted_units, git


def unacknowledged(repository: Path) -> frozenset[str]:
    return deleted_units(repository) - {unit.id for unit in load_retired(repository / "include" / "units")}


def test_every_deleted_unit_is_acknowledged() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no history to compare with")
    if git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("a shallow clone: its history does not reach back to what was deleted")
    assert unacknowledged(ROOT) == frozenset(), "add an entry for each to include/units/retired.yml"


def test_no_living_unit_is_called_retired() -> None:
    living = {f"{kind}__{path.stem}" for kind in KINDS for path in (UNITS / kind).glob("*.yml")}
    assert living
    assert living & {unit.id for unit in load_retired()} == set()


def test_entries_are_in_order_and_given_once() -> None:
    entries = load_retired()
    assert [entry.date for entry in entries] == sorted(entry.date for entry in entries)
    assert len({entry.id for entry in entries}) == len(entries)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one unit that lives, one deleted, one renamed, and one deleted and brought back."""
    folder = tmp_path / "include" / "units" / "airbyte"
    folder.mkdir(parents=True)
    git(tmp_path, "init", "--quiet")

    def commit(message: str) -> None:
        git(tmp_path, "add", "--all")
        git(tmp_path, "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "--quiet", "--message", message)

    for name in ("lives", "deleted", "renamed", "back"):
        (folder / f"{name}.yml").write_text(f"description: {name}, with a line of its own so that git takes no file for another\n" * 3, encoding="utf-8")
    (folder.parent / "retired.yml").write_text("retired: []\n", encoding="utf-8")
    commit("four units")
    (folder / "deleted.yml").unlink()
    (folder / "renamed.yml").rename(folder / "other.yml")
    back = (folder / "back.yml").read_text(encoding="utf-8")
    (folder / "back.yml").unlink()
    commit("two less, one under another name")
    (folder / "back.yml").write_text(back, encoding="utf-8")
    commit("one is back")
    return tmp_path


def test_the_check_finds_what_was_deleted_or_renamed(repository: Path) -> None:
    assert unacknowledged(repository) == {"airbyte__deleted", "airbyte__renamed"}


def test_an_entry_acknowledges(repository: Path) -> None:
    entry = "  - {id: airbyte__deleted, date: 2026-11-20, reason: the application was switched off, tables: [raw.raw__deleted__users]}\n"
    (repository / "include" / "units" / "retired.yml").write_text(f"retired:\n{entry}", encoding="utf-8")
    assert unacknowledged(repository) == {"airbyte__renamed"}


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("{id: airbyte__x, date: 2026-11-20, reason: gone for good}", "retired.0.tables"),
        ("{id: airbyte__x, date: yesterday, reason: gone for good, tables: []}", "retired.0.date"),
        ("{id: airbyte__x, date: 2026-11-20, reason: x, tables: []}", "retired.0.reason"),
        ("{id: X, date: 2026-11-20, reason: gone for good, tables: []}", "retired.0.id"),
    ],
)
def test_an_entry_says_what_when_why_and_which_tables(entry: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "retired.yml").write_text(f"retired:\n  - {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_retired(tmp_path)
    assert [problem.key for problem in caught.value.problems] == [key]
