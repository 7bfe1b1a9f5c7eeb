"""What the golden files hold: the short ones for a reviewer's first look, the long ones for every detail.

``dag_ids.txt``                each DAG and the environments it exists in
``assets.txt``                 each table (without its environment) and the task that makes it
``<environment>/<dag>.json``   the serialised DAG, in the environments that differ most
``pods/<dag>.<task>.yaml``     each pod of production
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from include.config.files import ROOT
from include.config.vocabulary import Layer
from include.lake.names import TableRef
from tests.dags.collected import ENVIRONMENTS, dags_of, settings_of

FOLDER = Path(__file__).resolve().parent
LONG = ("local", "production")
# Paths of this machine, Airflow's own version, and what Airflow derives from the rest of the same document.
LEFT_OUT = ("fileloc", "_processor_dags_folder", "__version", "dag_dependencies")
SAYS_SOMETHING_EMPTY = ("emptyDir",)
DIFF_LINES = 60


def rendered() -> dict[str, str]:
    """Every golden file's name, relative to this folder, and text."""
    files = {"dag_ids.txt": dag_ids(), "assets.txt": assets()}
    for name in LONG:
        files |= {f"{name}/{dag_id}.json": as_json(dag["serialized"]) for dag_id, dag in dags_of(name).items()}
    for dag_id, dag in dags_of("production").items():
        files |= {f"pods/{dag_id}.{task_id}.yaml": as_yaml(pod) for task_id, pod in dag["pods"].items()}
    return files


def dag_ids() -> str:
    """One line a DAG: its id and where it exists."""
    found = {name: set(dags_of(name)) for name in ENVIRONMENTS}
    ids = sorted(set().union(*found.values()))
    return "".join(f"{dag_id}: {' '.join(name for name in ENVIRONMENTS if dag_id in found[name])}\n" for dag_id in ids)


def assets() -> str:
    """One line a table: layer, name, and the task whose success announces it."""
    settings = settings_of("production")
    layers = {settings.schema_for(layer): layer.value for layer in Layer}
    lines = []
    for dag_id, dag in dags_of("production").items():
        for task_id, task in dag["tasks"].items():
            tables = [TableRef.from_uri(asset["uri"]) for asset in task["outlets"]]
            lines += [f"{layers[table.schema]}.{table.table} ← {dag_id}.{task_id}\n" for table in tables]
    return "".join(sorted(lines))


def as_json(data: Any) -> str:
    """Sorted, one value a line, without what is empty, belongs to this machine or to this version of Airflow."""
    text = json.dumps(_pruned(data), sort_keys=True, indent=1, ensure_ascii=False)
    return _anywhere(text) + "\n"


def as_yaml(data: Any) -> str:
    """As :func:`as_json`, for what people know as YAML."""
    return _anywhere(yaml.safe_dump(_pruned(data), sort_keys=True, width=150, allow_unicode=True))


def _anywhere(text: str) -> str:
    """Without the place of the repository. Only whole paths: below /work/main, another text may hold /work/maintenance."""
    return re.sub(rf"(?<![\w-]){re.escape(str(ROOT))}(?![\w-])", "<repository>", text)


def _pruned(data: Any) -> Any:
    """Without what is left out or empty; an asset, whose name is its URI, is one line."""
    if isinstance(data, list):
        return [_pruned(item) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("__type") == "asset":
        return f"asset {data.get('__var', data)['uri']}"
    kept = {key: _pruned(value) for key, value in data.items() if key not in LEFT_OUT}
    return {key: value for key, value in kept.items() if value not in (None, [], {}, "") or key in SAYS_SOMETHING_EMPTY}


def differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """Empty when both are the same; else what changed in which file, and the command that accepts it."""
    told = []
    for name in sorted(expected.keys() | found.keys()):
        lines = list(
            difflib.unified_diff(
                expected.get(name, "").splitlines(),
                found.get(name, "").splitlines(),
                f"tests/golden/{name}" if name in expected else "/dev/null",
                "what the code says now" if name in found else "/dev/null",
                lineterm="",
                n=2,
            )
        )
        if len(lines) > DIFF_LINES:
            lines = [*lines[:DIFF_LINES], f"… {len(lines) - DIFF_LINES} more lines"]
        told += lines
    return "\n".join([*told, "", "If this is what you want: make golden"]) if told else ""


def stored(prefix: str = "") -> dict[str, str]:
    """The golden files on disk whose names begin with ``prefix``."""
    paths = [path for path in FOLDER.rglob("*") if path.suffix in {".txt", ".json", ".yaml"}]
    found = {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in sorted(paths)}
    return {name: text for name, text in found.items() if name.startswith(prefix)}


def write(files: dict[str, str]) -> None:
    """Stores the files and removes those that belong to nothing any more."""
    for name in stored().keys() - files.keys():
        (FOLDER / name).unlink()
    for name, text in files.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
