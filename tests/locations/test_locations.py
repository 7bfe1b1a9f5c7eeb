"""Code locations with a real DAG processor and supervised tasks: a broken file hides nothing, and a run ends on the release it began on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import read_environment
from include.config.files import ROOT
from include.config.locations import bundles
from include.local.platform import Platform
from tests.supervised.database import airflow_settings, program

STEADY = '''"""An Airflow DAG of the release called {word}."""

from airflow.sdk import DAG, task
from include.config.environments import current_environment
from include.word import WORD

with DAG("steady", schedule=None) as dag:

    @task
    def first():
        return [WORD, "{word}", current_environment().image("jobs")]

    @task
    def {second}():
        return [WORD, "{word}", current_environment().image("jobs")]

    first() >> {second}()
'''
GOOD = '"""An Airflow DAG beside one that is broken."""\nfrom airflow.sdk import DAG\ndag = DAG("edxorg", schedule=None)\n'
BROKEN = '"""An Airflow DAG that cannot be imported."""\nimport a_module_of_nobody\n'
pytestmark = pytest.mark.lake


def image(folder: Path, word: str, second: str) -> Path:
    """What an image of the platform holds: two locations' DAG files, and the code that both import."""
    for part in ("config", "units"):
        shutil.copytree(ROOT / "include" / part, folder / "include" / part, ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        "include/__init__.py": "",
        "include/word.py": f'WORD = "{word}"\n',
        "dags/transform/steady.py": STEADY.format(word=word, second=second),
        "dags/ingest/edxorg.py": GOOD,
        "dags/ingest/openedx.py": BROKEN,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def deployment(folder: Path, tag: str) -> dict[str, str]:
    """The variables of Airflow's containers that a deployment changes."""
    settings = read_environment({"OL_WORK_ROOT": f"file://{folder.parent}/work"})
    configured = bundles(settings, root=str(folder), release={"OL_IMAGE_TAG": tag})
    path = f"{folder}:{ROOT / 'plugins'}"  # as in the Airflow image
    return {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(configured), "OL_IMAGE_TAG": tag, "PYTHONPATH": path}


@pytest.fixture(scope="module")
def seen(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What :mod:`tests.supervised.locations` saw."""
    folder = tmp_path_factory.mktemp("locations")
    deployments = [deployment(image(folder / "one", "one", "second"), "tag-one"), deployment(image(folder / "two", "two", "third"), "tag-two")]
    return program("locations.py", json.dumps(deployments), airflow_settings(postgres, "airflow_locations"), folder)


def test_a_file_that_cannot_be_imported_hides_nothing(seen: dict[str, Any]) -> None:
    assert {dag_id: bundle for dag_id, (bundle, _) in seen["dags"].items()} == {"steady": "platform", "edxorg": "openedx"}
    assert seen["errors"] == [["openedx", "dags/ingest/openedx.py", "ModuleNotFoundError: No module named 'a_module_of_nobody'"]]


def test_each_location_has_its_own_release(seen: dict[str, Any]) -> None:
    versions = [version for _, version in seen["dags"].values()]
    assert len(set(versions)) == 2
    assert all(len(version) == 16 for version in versions)


def test_a_run_ends_on_the_release_it_began_on(seen: dict[str, Any]) -> None:
    one, two = (["one", "one", "ol-data-platform/jobs:tag-one"], ["two", "two", "ol-data-platform/jobs:tag-two"])
    assert seen["old"] == {"first": ["success", one], "second": ["success", one]}, "code, DAG and images are the old ones, in an image that has the new"
    assert seen["new"] == {"third": ["success", two]}
    assert seen["runs"] == {"old": seen["dags"]["steady"][1], "new": seen["dags_after"]["steady"][1]}
    assert seen["runs"]["old"] != seen["runs"]["new"]


def test_the_store_is_needed_for_older_releases_alone(seen: dict[str, Any]) -> None:
    assert seen["without_the_store"] == {"old": "failed", "late": "success"}
