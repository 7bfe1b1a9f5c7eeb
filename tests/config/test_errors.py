"""Every way a unit file can be wrong is told with the file, the key, what was found and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from include.config.errors import ConfigError, Problem
from include.config.load import read_unit
from tests.config.units_on_disk import GOOD, changed, write_unit

FILE = "demo__app_postgres.yml"


@dataclass(frozen=True)
class Case:
    """A bad file and the one problem it has; ``found`` and ``allowed`` must occur in the problem's own."""

    name: str
    text: str | bytes
    key: str
    found: str
    allowed: str


CASES = (
    Case("missing key", changed("owner: data-platform\n", ""), "owner", "nothing", "required"),
    Case("missing key of a stream", changed("    columns: [id, title]\n", ""), "streams.1.columns", "nothing", "required"),
    Case("missing key of the connection", changed("  name: demo_app_db → s3 data lake\n", ""), "connection.name", "nothing", "required"),
    Case("unknown key", GOOD + "colour: blue\n", "colour", "'blue'", "cadence, connection"),
    Case("unknown key of a stream", changed("    cursor: up", "    cursr: id\n    cursor: up"), "streams.0.cursr", "'id'", "columns, cursor"),
    Case("unknown key of the connection", changed("  ids:\n", "  url: http://x\n  ids:\n"), "connection.url", "'http://x'", "known here: ids, name"),
    Case("word outside the vocabulary", changed("cadence: daily", "cadence: weekly"), "cadence", "'weekly'", "'every_6_hours', 'every_12_hours' or 'daily'"),
    Case("unknown owner", changed("owner: data-platform", "owner: nobody"), "owner", "'nobody'", "'data-platform' or 'analytics-engineering'"),
    Case("unknown tier", changed("tier: 2", "tier: 4"), "tier", "4", "1, 2 or 3"),
    Case("unknown sync mode", changed("full_refresh_overwrite", "full"), "streams.1.sync_mode", "'full'", "'full_refresh_overwrite'"),
    Case("wrong type", changed("description: A small application's database.", "description: [a, b]"), "description", "['a', 'b']", "string"),
    Case("a mapping where a list belongs", changed("columns: [id, title]", "columns: {id: title}"), "streams.1.columns", "{'id': 'title'}", "tuple"),
    Case("empty list", changed("columns: [id, title]", "columns: []"), "streams.1.columns", "[]", "at least 1"),
    Case("a word that YAML takes for a boolean", changed("[id, title]", "[id, on]"), "streams.1.columns.1", "True", "string"),
    Case("upper case in a column", changed("[id, title]", "[id, Title]"), "streams.1.columns.1", "'Title'", "^[a-z_][a-z0-9_]*$"),
    Case("prefix of another form", changed("raw__demo__app__postgres__", "demo_"), "table_prefix", "'demo_'", "^raw__"),
    Case("key given twice", GOOD + "tier: 1\n", "line 21", "'tier' given twice", "YAML"),
    Case("broken YAML", changed("columns: [id, title]", "columns: [id, title"), "line 21", "expected", "YAML"),
    Case("a list as a key", GOOD + "? [a, b]\n: c\n", "line 21", "a list as a key", "YAML"),
    Case("tab as indentation", changed("  ids:", "\tids:"), "line 8", "found a tab character", "YAML"),
    Case("an object constructor", GOOD + "x: !!python/object/apply:os.getcwd []\n", "line 21", "could not determine a constructor", "YAML"),
    Case("a list instead of a mapping", "- a\n- b\n", "the file", "list", "a mapping of keys"),
    Case("an empty file", "", "the file", "NoneType", "a mapping of keys"),
    Case("not UTF-8", GOOD.encode() + b"# \xff\n", f"byte {len(GOOD.encode()) + 2}", "xff", "UTF-8"),
    Case("cursor on a full refresh", changed("columns: [id, title]", "columns: [id, title]\n    cursor: id"), "streams.1.cursor", "'id'", "remove the line"),
    Case("incremental without cursor", changed("    cursor: updated_on\n", ""), "streams.0.cursor", "nothing", "for example: cursor: updated_on"),
    Case("deduplicated without key", changed("    primary_key: [id]\n", ""), "streams.0.primary_key", "nothing", "for example: primary_key: [id]"),
    Case("cursor that is no column", changed("[id, email, updated_on]", "[id, email]"), "streams.0.columns", "['id', 'email']", "updated_on is a key"),
    Case("stream given twice", changed("name: courses_course", "name: users_user"), "streams", "users_user", "users_user listed more than once"),
    Case("unknown environment", changed("    production:", "    prod:"), "connection.ids.prod.[key]", "'prod'", "'local', 'branch', 'qa' or 'production'"),
    Case("bad id of a connection", changed("9a0f7a4e-5f9d-4a6a-8f25-1c8f3e6b0009", "42-x"), "connection.ids.production", "'42-x'", "UUID"),
    Case("an id in the file", GOOD + "id: other\n", "id", "'other'", "the id is the file's name"),
)


def problems_of(root: Path, text: str | bytes, name: str = FILE) -> tuple[Problem, ...]:
    """The problems that reading this unit raises."""
    with pytest.raises(ConfigError) as caught:
        read_unit("airbyte", write_unit(root, text, name))
    return caught.value.problems


def test_the_file_that_the_cases_change_is_good(tmp_path: Path) -> None:
    assert read_unit("airbyte", write_unit(tmp_path, GOOD)).model_dump()["id"] == "demo__app_postgres"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_told_with_place_found_and_allowed(case: Case, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, case.text)
    assert len(problems) == 1, problems
    problem = problems[0]
    assert problem.file == FILE
    assert problem.key == case.key
    assert case.found in problem.found
    assert case.allowed in problem.allowed
    for part in (problem.file, problem.key, problem.found, problem.allowed):
        assert part in str(problem)


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    text = changed("tier: 2", "tier: 9").replace("owner: data-platform\n", "").replace("cadence: daily", "cadence: weekly")
    assert {problem.key for problem in problems_of(tmp_path, text)} == {"owner", "tier", "cadence"}


def test_a_file_name_that_is_no_identifier_is_told(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, GOOD, "Demo app.yml")
    assert (problem.file, problem.key, problem.found) == ("Demo app.yml", "id", "'Demo app'")


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, changed("cadence: daily", f"cadence: {'x' * 5000}"))
    assert len(problem.found) == 120


def test_the_example_is_part_of_the_message() -> None:
    assert str(Problem("a.yml", "owner", "nothing", "a team", "owner: data-platform")).endswith("; for example: owner: data-platform")
