"""Releases of a code location: named after their content, checked when they are unpacked, and complete or not there at all."""

from __future__ import annotations

import shutil
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles import base
from airflow.sdk.exceptions import AirflowException
from release_bundle import ReleaseBundle


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """What an image holds."""
    files = {"dags/ingest/a.py": "A", "dags/ingest/b.py": "B", "dags/other.py": "O", "include/x/code.py": "C", "include/x/__pycache__/code.pyc": "P"}
    for name, text in files.items():
        path = tmp_path / "image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "image"


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(base, "get_bundle_storage_root_path", lambda: tmp_path / "storage")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "include", raising=False)  # a task's process has imported nothing of the repository yet
    return tmp_path / "storage"


def bundle(image: Path, version: str | None = None, **settings: Any) -> ReleaseBundle:
    wanted: dict[str, Any] = {"dags": "ingest/*.py", "release": {"OL_IMAGE_TAG": "t"}, **settings}
    found = ReleaseBundle(name="here", root=str(image), releases=f"file://{image.parent}/releases", version=version, **wanted)
    found.initialize()
    return found


def version_of(found: ReleaseBundle) -> str:
    return found.get_current_version().version


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob("**/*") if path.is_file()} | {
        f"include/{path.relative_to(folder / 'include').as_posix()}" for path in (folder / "include").glob("**/*") if path.is_file()
    }


def test_it_shows_the_locations_files_and_keeps_them(image: Path) -> None:
    found = bundle(image)
    assert {"dags/ingest/a.py", "dags/ingest/b.py", "include/x/code.py", ".airflowignore"} <= names(found.path)
    assert "dags/other.py" not in names(found.path)
    assert (image.parent / "releases" / "here" / f"{version_of(found)}.tar.gz").exists()


def test_the_same_content_is_the_same_release(image: Path, tmp_path: Path) -> None:
    shutil.copytree(image, tmp_path / "again", ignore=shutil.ignore_patterns("__pycache__"))
    first = bundle(image)
    assert version_of(bundle(tmp_path / "again")) == version_of(first)
    assert version_of(bundle(image, release={"OL_IMAGE_TAG": "other"})) != version_of(first)
    (image / "dags" / "other.py").write_text("another location's", encoding="utf-8")
    assert version_of(bundle(image)) == version_of(first)
    (image / "include" / "x" / "code.py").write_text("changed", encoding="utf-8")
    assert version_of(bundle(image)) != version_of(first)


def test_an_older_release_is_what_it_was(image: Path) -> None:
    version = version_of(bundle(image))
    (image / "dags" / "ingest" / "a.py").write_text("new", encoding="utf-8")
    (image / "dags" / "ingest" / "b.py").unlink()
    old, new = bundle(image, version), bundle(image)
    assert (old.path / "dags" / "ingest" / "a.py").read_text(encoding="utf-8") == "A"
    assert (old.path / "dags" / "ingest" / "b.py").exists()
    assert (old.path / "release.json").read_text(encoding="utf-8") == '{"OL_IMAGE_TAG": "t"}'
    assert (new.path / "dags" / "ingest" / "a.py").read_text(encoding="utf-8") == "new"
    assert version_of(old) == version


def test_an_older_release_imports_its_own_code(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = version_of(bundle(image))
    (image / "include" / "x" / "code.py").write_text("new", encoding="utf-8")
    monkeypatch.syspath_prepend(str(image))
    old = bundle(image, version)
    assert sys.path[0] == str(old.path)
    mixed = types.ModuleType("include")
    mixed.__path__ = [str(image / "include")]
    monkeypatch.setitem(sys.modules, "include", mixed)
    with pytest.raises(AirflowException, match=r"has imported .*/image/include already; two releases cannot be mixed"):
        bundle(image, version)


def test_the_images_own_release_needs_no_store(image: Path, storage: Path) -> None:
    version = version_of(bundle(image))
    shutil.rmtree(image.parent / "releases")
    shutil.rmtree(storage)
    assert (bundle(image, version).path / "dags" / "ingest" / "a.py").exists()


def test_a_release_that_cannot_be_kept_is_not_used(image: Path) -> None:
    (image.parent / "releases").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(OSError, match="releases"):
        bundle(image)


def test_a_release_that_is_nowhere_is_told_with_what_to_do(image: Path) -> None:
    with pytest.raises(AirflowException, match=r"release 0123456789abcdef of location here is not in file://.*Clear the run with the latest version"):
        bundle(image, "0123456789abcdef")


def test_a_release_is_what_its_name_says(image: Path) -> None:
    version = version_of(bundle(image))
    folder = image.parent / "releases" / "here"
    (image / "dags" / "ingest" / "a.py").write_text("new", encoding="utf-8")
    other = version_of(bundle(image))
    shutil.copy(folder / f"{other}.tar.gz", folder / f"{version}.tar.gz")
    (image / "dags" / "ingest" / "a.py").write_text("newer", encoding="utf-8")
    with pytest.raises(AirflowException, match=f"its content is that of {other}"):
        bundle(image, version)
    with pytest.raises(AirflowException, match="its content"):
        bundle(image, version)


def test_an_image_without_dags_is_no_release(image: Path) -> None:
    """It would be a location without DAGs, and Airflow would put all of them away."""
    shutil.rmtree(image / "dags")
    with pytest.raises(AirflowException, match=r"location here: found no folder .*dags"):
        bundle(image)


def test_many_at_once_get_one_whole_release(image: Path, storage: Path) -> None:
    version = version_of(bundle(image))
    (image / "dags" / "ingest" / "a.py").write_text("new", encoding="utf-8")
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append((bundle(image, version).path / "dags" / "ingest" / "a.py").read_text())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["A"] * 8
    assert [path.name for path in (storage / "here" / "versions").iterdir()] == [version]
