"""Rules about the source that no linter knows; each is shown to find what it forbids."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.config.files import ROOT

SOURCES = [path for folder in ("include", "dags", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]
DAG_FILES = [path for path in SOURCES if path.is_relative_to(ROOT / "dags")]
DAG_FILE_LINES = 40
# Who may touch the process's environment variables, and why.
ENVIRONMENT_READERS = {
    "include/config/environments.py": "the one reader of settings",
    "include/local/processes.py": "builds the environment of child processes from its own",
    "plugins/secret_masking.py": "tells Airflow's masker which of a task's variables are secrets",
}
ASSET_CALLERS = {"include/lake/assets.py"}
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """``(line, module or module.name)`` for everything that a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def asset_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"Asset", "AssetAlias", "Dataset"}:
                yield node.lineno, f"{called}(…)"


def environment_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield node.lineno, f"os.{node.attr}"
    yield from ((line, name) for line, name in imports(tree) if name in {f"os.{one}" for one in names})


def variable_uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    yield from ((line, name) for line, name in imports(tree) if name.startswith("airflow.") and name.endswith(".Variable"))


def path_changes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "path" and isinstance(node.value, ast.Name) and node.value.id == "sys":
            yield node.lineno, "sys.path"


def broad_excepts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Handlers that swallow everything and go on as if nothing had been."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        everything = node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"}
        if everything and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body):
            yield node.lineno, "except Exception: pass"


RULES: dict[str, tuple[Callable[[ast.AST], Iterator[tuple[int, str]]], set[str], str]] = {
    "assets": (asset_calls, ASSET_CALLERS, "from airflow.sdk import Asset\nx = Asset('a')"),
    "assets by another name": (asset_calls, ASSET_CALLERS, "from airflow import sdk\nx = sdk.Asset('a')"),
    "environment": (environment_reads, set(ENVIRONMENT_READERS), "import os\nx = os.environ['A']"),
    "environment by getenv": (environment_reads, set(ENVIRONMENT_READERS), "from os import getenv"),
    "Airflow variables": (variable_uses, set(), "from airflow.sdk import Variable\nx = Variable.get('a')"),
    "sys.path": (path_changes, {"plugins/release_bundle.py"}, "import sys\nsys.path.insert(0, 'include')"),
    "swallowed errors": (broad_excepts, set(), "try:\n    x()\nexcept Exception:\n    pass"),
}


def test_there_are_sources() -> None:
    assert len(SOURCES) > 50
    assert len(DAG_FILES) >= 2


@pytest.mark.parametrize("rule", RULES)
def test_only_listed_modules_do_it(rule: str) -> None:
    find, allowed, forbidden = RULES[rule]
    assert list(find(ast.parse(forbidden))), "the rule finds what it forbids"
    trees = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    found = {name: [f"line {line}: {what}" for line, what in find(tree)] for name, tree in trees.items()}
    assert {name: lines for name, lines in found.items() if lines and name not in allowed} == {}
    assert {name for name in allowed if not found.get(name)} == set(), "listed, but does not do it any more"


def test_dag_files_are_short() -> None:
    """A DAG file loads units, loops and calls a factory; what is longer belongs into the factory, where it is tested."""
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in DAG_FILES}
    assert {name: count for name, count in lines.items() if count > DAG_FILE_LINES} == {}


def test_no_dag_file_is_taken_for_a_dbt_plugin() -> None:
    """dbt imports every module on its path whose name begins with ``dbt_``."""
    assert [name_of(path) for path in DAG_FILES if path.name.startswith("dbt_")] == []


def test_dbt_is_dbt() -> None:
    """``include/`` itself must not be on the path: ``include/dbt`` would stand in the way of dbt."""
    spec = importlib.util.find_spec("dbt")
    assert spec is not None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    assert places
    assert not any(place.is_relative_to(ROOT / "include") for place in places)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "include" not in settings["tool"]["pytest"]["ini_options"].get("pythonpath", [])


def lint(folder: Path) -> tuple[int, str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # the tree in this folder and no other
    done = subprocess.run([str(LINT_IMPORTS), "--no-cache"], cwd=folder, env=clean, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def contracts() -> dict[str, str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["id"]: " ".join(contract["name"].split()) for contract in settings["tool"]["importlinter"]["contracts"]}


def test_imports_go_one_way() -> None:
    code, told = lint(ROOT)
    assert code == 0, told
    assert f"Contracts: {len(contracts())} kept, 0 broken." in told


# One forbidden import for each contract: the file it is added to, the line, and how import-linter names it.
VIOLATIONS = {
    "layers": ("include/lake/names.py", "import include.policies", "include.lake.names -> include.policies"),
    "bottom": ("include/contract.py", "import include.config.files", "include.contract -> include.config.files"),
    "jobs": ("include/jobs/raw/verify.py", "import include.lake.assets", "include.jobs.raw.verify -> include.lake.assets"),
    "command-line": ("include/operators/dbt.py", "import include.jobs.warehouse.progress", "include.operators.dbt -> include.jobs.warehouse.progress"),
    "without-airflow": ("include/local/paths.py", "import airflow.sdk", "include.local.paths -> airflow"),
    "entry-points": ("dags/transform/warehouse.py", "import include.policies", "dags.transform.warehouse -> include.policies"),
    "dag-files": ("dags/ingest/airbyte.py", "import dags.transform.warehouse", "dags.ingest.airbyte -> dags.transform.warehouse"),
    "plugins": ("plugins/airbyte_triggers.py", "import include.contract", "plugins.airbyte_triggers -> include.contract"),
}


def test_every_contract_can_fail(tmp_path: Path) -> None:
    for path in SOURCES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line, _ in VIOLATIONS.values():
        path = tmp_path / file
        path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    code, told = lint(tmp_path)
    assert code == 1
    assert VIOLATIONS.keys() == contracts().keys(), "one violation for each contract"
    for contract, (_, _, edge) in VIOLATIONS.items():
        assert f"{contracts()[contract]} BROKEN" in told
        assert edge in told
