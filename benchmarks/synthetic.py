"""A dbt project of 677 views with a test each, so cheap for the engine that what dbt and Airflow themselves cost shows.

It takes the settings and macros of the real project; only the models are generated. Every view depends on at most two of an earlier level,
but its query names none of them: opening views of views takes the engine longer than all that is compared here.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

SEED = 677
STAGING = 20
LEVELS = (("intermediate", 250), ("dimensional", 200), ("marts", 150), ("reporting", 77))
MODELS = sum(count for _, count in LEVELS)
AREAS = 48


def write_project(project: Path) -> None:
    """Replaces the models and tests of the project in ``project``. The result is the same every time."""
    chance = random.Random(SEED)
    for name in ("models", "tests"):
        shutil.rmtree(project / name, ignore_errors=True)
    before = [f"stg__synthetic__s{number:03d}" for number in range(STAGING)]
    _write_level(project / "models" / "staging", before, {name: [] for name in before}, chance)
    for level, count in LEVELS:
        names = [f"{level[:3]}__synthetic__m{number:03d}" for number in range(count)]
        _write_level(project / "models" / level, names, {name: chance.sample(before, chance.randint(1, 2)) for name in names}, chance)
        before = names


def _write_level(folder: Path, names: list[str], parents: dict[str, list[str]], chance: random.Random) -> None:
    folder.mkdir(parents=True)
    properties = ["models:"]
    for name in names:
        area = f"area_{chance.randrange(AREAS):02d}"
        settings = "materialized='view', on_table_exists=none, contract={'enforced': false}, properties={}, meta={'area': '" + area + "'}"
        query = f"select * from (values (1, '{name}'), (2, 'b')) as t (id, label)"
        notes = "".join(f"-- depends_on: {{{{ ref('{parent}') }}}}\n" for parent in parents[name])
        (folder / f"{name}.sql").write_text(f"{{{{ config({settings}) }}}}\n{notes}{query}\n", encoding="utf-8")
        properties += [f"  - name: {name}", f"    description: Rows of {name}.", "    columns:", "      - name: id", "        description: Its number."]
        properties += ["        data_tests: [not_null]"]
    (folder / "_models.yml").write_text("\n".join(properties) + "\n", encoding="utf-8")
