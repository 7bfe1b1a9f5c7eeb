"""A copy of this repository's code in another folder, in which a workload may change data and DAG files.

Nothing in the code is patched: it finds its units, its dbt project and its DAGs beside itself, as it does here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from include.config.files import ROOT

NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.pyc", "target", "logs", "dbt_packages")


def copy_code(folder: Path, dags: Mapping[str, str]) -> Path:
    """Copies ``include``, ``plugins`` and Airflow's settings to ``folder``; ``dags`` are the texts of its DAG files, by path below ``dags``."""
    for part in ("include", "plugins"):
        shutil.copytree(ROOT / part, folder / part, ignore=NOT_COPIED)
    for name in ("airflow.cfg", ".airflowignore"):
        shutil.copy(ROOT / name, folder / name)
    for path, text in dags.items():
        target = folder / "dags" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder
