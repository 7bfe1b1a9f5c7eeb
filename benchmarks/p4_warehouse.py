"""P4: the dbt project through Airflow against ``dbt build`` from the command line.

On this project's lane and on a synthetic project of 677 views with a test each. Ours is the ``warehouse`` DAG, with a task per area (the
goal) and with a task per model; the limit is plain ``dbt build``; the peer is Cosmos' watcher, stopped after ten minutes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.builds import PROJECT, Builds, Built, dag_files, parse
from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, alternate
from benchmarks.stage import own_platform, remove, scratch
from benchmarks.synthetic import AREAS, MODELS, SEED, STAGING, write_project
from include.config.environments import current_environment
from include.config.files import ROOT
from include.local.platform import Platform

REPEATS = 3
BOUND = 600.0
ONCE = 86_400  # seconds
SCALE = 0.1
GOAL = Goal(times=1.05)


def measure(options: Options) -> Outcome:
    """Both projects; the synthetic one is the one with the goal."""
    repeats = options.repeats or REPEATS
    cases = [*_project("synthetic", _synthetic, repeats, many=True), *_project("lane", _lane, repeats, many=False)]
    inputs = {"synthetic": {"models": MODELS, "tests": MODELS, "staging": STAGING, "areas": AREAS, "seed": SEED}, "lane": {"scale": SCALE}, "threads": 4}
    return Outcome(tuple(cases), inputs)


def _project(name: str, measured: Callable[[Path, int], dict[str, list[Built]]], repeats: int, *, many: bool) -> list[Case]:
    with scratch() as folder:
        try:
            found = measured(folder, repeats)
        finally:
            remove(folder)
    _assert_equal(found)
    series = {key: _series(builds) for key, builds in found.items()}
    notes = (f"{name} project, a task per area", _cpu(series), *([f"peer: {note}"] if (note := series["watcher"].note) else []))
    area = Case(series["area"], series["watcher"], series["plain"], GOAL, "" if many else name, notes)
    model = Case(series["model"], series["watcher"], series["plain"], None, f"{name} model", ("a task per model",))
    return [area, model]


def _synthetic(folder: Path, repeats: int) -> dict[str, list[Built]]:

    def prepare(code: Path) -> None:
        write_project(code / PROJECT)
        _prepare(code)

    with own_platform(folder, dag_files(), ("lake", "airflow"), prepare) as platform:
        return _contest(platform, repeats, rounds={"model": 1, "watcher": 1})


def _lane(folder: Path, repeats: int) -> dict[str, list[Built]]:
    """The lane's tables come from a demo: its state is taken over by a platform with the compared DAGs."""
    command = [sys.executable, "-m", "include.local", "--state", str(folder / "state"), "demo", "--scale", str(SCALE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"demo failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
    with own_platform(folder, dag_files(), ("lake", "airflow"), _prepare) as platform:
        return _contest(platform, repeats, rounds={"model": repeats, "watcher": repeats})


def _prepare(code: Path) -> None:
    """The parse state, and DAG files that are parsed once: the contestants' own would be parsed again, for seconds, in the midst of each other's runs."""
    parse(code)
    settings = code / "airflow.cfg"
    text, changed = re.subn(r"(?m)^min_file_process_interval = \d+$", f"min_file_process_interval = {ONCE}", settings.read_text(encoding="utf-8"))
    assert changed == 1, "airflow.cfg does not say how often files are parsed"
    settings.write_text(text, encoding="utf-8")


def _contest(platform: Platform, repeats: int, rounds: dict[str, int]) -> dict[str, list[Built]]:
    builds = Builds(platform, current_environment(), BOUND)
    builds.build_staging()
    builds.open_dags()
    builds.plain()  # all tables and views exist in the rounds that count, and its parse state
    builds.warehouse("area")  # its parse state, which an image brings for the address of its lake
    found: dict[str, list[Built]] = {}

    def taking(name: str, build: Callable[[], Built]) -> Callable[[], float]:
        def take() -> float:
            one = build()
            found.setdefault(name, []).append(one)
            print(f"  P4 {name}: {one.seconds:.1f} s, {one.cpu:.1f} CPU s {one.unfinished}", file=sys.stderr, flush=True)
            return one.seconds

        return take

    alternate(repeats, {"plain": taking("plain", builds.plain), "area": taking("area", lambda: builds.warehouse("area"))})
    alternate(rounds["model"], {"model": taking("model", lambda: builds.warehouse("model"))})
    alternate(rounds["watcher"], {"watcher": taking("watcher", builds.watcher)})
    return found


def _assert_equal(found: dict[str, list[Built]]) -> None:
    """Every finished build ran the same nodes with the same outcome and left the same rows. Raises ``AssertionError``."""
    first = found["plain"][0]
    assert set(first.nodes.values()) <= {"success", "pass"}, "plain dbt build did not succeed"
    for name, builds in found.items():
        for build in builds:
            if build.unfinished:
                continue
            assert build.rows == first.rows, f"{name}: rows differ from plain: {sorted(set(build.rows.items()) ^ set(first.rows.items()))[:10]}"
            if name != "watcher":
                assert build.nodes == first.nodes, f"{name}: nodes differ from plain: {sorted(set(build.nodes.items()) ^ set(first.nodes.items()))[:10]}"


def _series(builds: list[Built]) -> Series:
    left = [build.unfinished for build in builds if build.unfinished]
    counted = [build for build in builds if not build.unfinished] or builds
    note = f"{len(left)} of {len(builds)} runs did not finish ({left[0]})" if left and counted is not builds else ""
    details = {"cpu_seconds": [build.cpu for build in builds], "trino_cpu_seconds": [build.trino_cpu for build in builds], "tasks": dict(builds[-1].tasks)}
    return Series(tuple(build.seconds for build in counted), note, counted[0].unfinished, details)


def _cpu(series: dict[str, Series]) -> str:
    seconds = {name: sorted(one.details["cpu_seconds"])[len(one.seconds) // 2] for name, one in series.items()}
    return "CPU s of dbt and Airflow: " + ", ".join(f"{name} {seconds[name]:.0f}" for name in ("plain", "area", "model", "watcher"))
