"""The triggerer, the scheduler and the API server have the plugins folder on their path and no repository: each module must do with that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from include.config.files import ROOT

MODULES = sorted(path.stem for path in (ROOT / "plugins").glob("*.py"))
CHILD = """
import importlib, importlib.util, json, sys
folder, *names = sys.argv[1:]
sys.path.insert(0, folder)
assert importlib.util.find_spec("include") is None, "include is on the path: this check would prove nothing"
told = {}
for name in names:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        told[name] = {"error": str(error)}
        continue
    from airflow.triggers.base import BaseTrigger
    found = [thing for thing in vars(module).values() if isinstance(thing, type) and issubclass(thing, BaseTrigger) and thing.__module__ == name]
    told[name] = {"triggers": [trigger.__name__ for trigger in found]}
told["imported"] = sorted(name for name in sys.modules if name.partition(".")[0] in ("include", "dags", "kubernetes", "dbt", "pyiceberg"))
print(json.dumps(told))
"""


def imported(folder: Path, names: list[str]) -> dict[str, dict[str, list[str]]]:
    """What importing the modules of a folder gives, in an isolated process outside the repository."""
    command = [sys.executable, "-I", "-c", CHILD, str(folder), *names]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, dict[str, list[str]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_plugin_imports_without_the_repository() -> None:
    assert len(MODULES) >= 2
    found = imported(ROOT / "plugins", MODULES)
    assert found.pop("imported") == [], "a plugin is imported by every component: it must be light"
    assert {name: told["error"] for name, told in found.items() if "error" in told} == {}
    assert found["model_triggers"] == {"triggers": ["ModelsTrigger"]}
    assert found["airbyte_triggers"] == {"triggers": ["AirbyteJobTrigger"]}


def test_a_plugin_that_needs_the_repository_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "needy.py").write_text("import include.contract\n", encoding="utf-8")
    assert imported(tmp_path, ["needy"])["needy"] == {"error": "No module named 'include'"}
