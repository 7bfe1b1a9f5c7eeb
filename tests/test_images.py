"""An image holds every module of ours that what is copied into it imports: a missing one would be found on a cluster, and not before."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.config.files import ROOT
from tests.test_architecture import imports

DOCKERFILES = sorted(ROOT.glob("images/*/Dockerfile"))


def copied(dockerfile: Path) -> set[Path]:
    """The Python files of this repository that an image gets."""
    found: set[Path] = set()
    for line in dockerfile.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--"):
            for source in words[1:-1]:
                path = ROOT / source
                found |= set(path.rglob("*.py")) if path.is_dir() else {path}
    return {path for path in found if path.suffix == ".py"}


def imported(path: Path) -> Iterator[str]:
    """What a file imports of ``include``, also within functions: modules, and names that may be modules."""
    for _, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        if name.startswith("include"):
            yield from (name, name.rpartition(".")[0])


def files_of(module: str) -> set[Path]:
    """The files that importing a module runs; none for a name that is no module."""
    path = ROOT.joinpath(*module.split("."))
    own = [one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()]
    packages = [parent / "__init__.py" for parent in path.parents if parent.is_relative_to(ROOT / "include")]
    return {*own, *(one for one in packages if one.is_file())} if own else set()


def missing(files: set[Path]) -> dict[str, list[str]]:
    """What is imported and not there, by importing file."""
    lacking = {path: sorted({str(one.relative_to(ROOT)) for module in imported(path) for one in files_of(module) - files}) for path in files}
    return {str(path.relative_to(ROOT)): names for path, names in lacking.items() if names}


def test_there_are_images() -> None:
    assert {path.parent.name for path in DOCKERFILES} >= {"airflow", "dbt", "jobs", "openedx"}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_every_import_is_in_the_image(dockerfile: Path) -> None:
    assert missing(copied(dockerfile)) == {}


@pytest.mark.parametrize("name", ["include/atomic.py", "include/lake/names.py", "include/lake/__init__.py"])
def test_a_file_that_is_left_out_is_found(name: str) -> None:
    files = copied(ROOT / "images" / "jobs" / "Dockerfile")
    assert name in {one for names in missing(files - {ROOT / name}).values() for one in names}
