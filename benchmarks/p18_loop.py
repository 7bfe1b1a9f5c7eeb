"""P18: the developer's loop: an edited model is built and tested, and the whole demo is run again.

In a copy of the repository, so that nothing of the user's is touched. The peer is ``dbt build --select`` in a shell that has the lake's
addresses already; the limit is the time dbt spent in the model and its tests. With ``--cold`` also the first demo of a fresh checkout, with
all packages and the engine fetched again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.repository import copy_code
from benchmarks.results import Case, Goal, Outcome, Series, alternate
from benchmarks.stage import scratch
from include.config.files import ROOT

MODEL = "dim_user"
PROJECT = Path("include") / "dbt" / "open_learning"
REPEATS, DEMOS = 5, 3
EDITED, WARM, COLD = Goal(seconds=8.0), Goal(seconds=75.0), Goal(seconds=180.0)
BUILD_FILES = ("Makefile", "requirements.txt", "requirements-dev.txt", "requirements-uv.txt", "pyproject.toml")


def measure(options: Options) -> Outcome:
    """The edited model first, then the demo."""
    with scratch() as folder:
        loop = _Loop(_checkout(folder / "code"))
        try:
            first = loop.make("demo")
            warm = Series(
                tuple(loop.make("demo") for _ in range(min(DEMOS, options.repeats or DEMOS))), "the next day's rows, in the platform of the day before"
            )
            edited = loop.edit_and_build(options.repeats or REPEATS)
        finally:
            loop.make("clean")
    cases = [edited, Case(warm, goal=WARM, name="demo", notes=("make demo, the next day",))]
    cases.append(Case(Series((first,)), name="first demo", notes=("make demo with an empty state, packages and engine fetched before",)))
    if options.cold:
        cases.append(_cold())
    return Outcome(tuple(cases), {"model": MODEL, "scale": 0.1})


def _checkout(folder: Path) -> Path:
    dags = {str(path.relative_to(ROOT / "dags")): path.read_text(encoding="utf-8") for path in sorted((ROOT / "dags").rglob("*.py"))}
    copy_code(folder, dags)
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


class _Loop:
    """Runs make in a checkout, with this environment's packages."""

    def __init__(self, code: Path) -> None:
        self.code = code
        self.model = next((code / PROJECT / "models").rglob(f"{MODEL}.sql"))
        self.text = self.model.read_text(encoding="utf-8")
        self.edits = 0
        self.inside: list[float] = []

    def make(self, *arguments: str, environment: Mapping[str, str] | None = None) -> float:
        """One ``make``; its seconds. Raises ``AssertionError`` with the end of its output when it fails."""
        return _timed(["make", "-s", f"VENV={ROOT / '.venv'}", *arguments], self.code, {**os.environ, **(environment or {})})[0]

    def edit_and_build(self, repeats: int) -> Case:
        """Every repeat edits the model, builds it and sees that the table is new and its tests were run."""
        _, exports = _timed(["make", "-s", f"VENV={ROOT / '.venv'}", "lake"], self.code, dict(os.environ))
        lake = {**os.environ, **_variables(exports)}
        dbt = [str(ROOT / ".venv" / "bin" / "dbt"), "build", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--select", MODEL]

        def ours() -> float:
            self._edit()
            seconds = self.make("model", f"M={MODEL}")
            self.inside.append(self._check("model"))
            return seconds

        def peer() -> float:
            self._edit()
            seconds, _ = _timed([*dbt, "--target-path", "target/peer"], self.code, lake)
            self._check("peer")
            return seconds

        ours(), peer()  # the parse state of each is there in the rounds that count
        self.inside.clear()
        series = alternate(repeats, {"ours": ours, "peer": peer})
        limit = Series(tuple(self.inside), "from the start of the model to the end of its last test, inside ours")
        notes = (f"{MODEL} edited, built and tested by make model",)
        return Case(Series(series["ours"]), Series(series["peer"], "dbt build --select in a prepared shell"), limit, EDITED, notes=notes)

    def _edit(self) -> None:
        self.edits += 1
        self.model.write_text(f"{self.text}\n-- edit {self.edits}\n", encoding="utf-8")

    def _check(self, target: str) -> float:
        """The run built the edited text and all its tests passed; seconds that its nodes took together, overlaps counted once."""
        folder = self.code / PROJECT / "target" / target
        results: list[dict[str, Any]] = json.loads((folder / "run_results.json").read_bytes())["results"]
        built = [result for result in results if result["unique_id"] == f"model.open_learning.{MODEL}"]
        assert [result["status"] for result in built] == ["success"], f"{MODEL}: {built}"
        assert f"-- edit {self.edits}" in built[0]["compiled_code"], f"{MODEL}: an earlier text was built"
        tests = [result["status"] for result in results if result is not built[0]]
        assert tests, f"{MODEL}: none of its tests was run"
        assert set(tests) == {"pass"}, f"{MODEL}: {tests}"
        times = [datetime.fromisoformat(timing[end]).timestamp() for result in results for timing in result["timing"] for end in ("started_at", "completed_at")]
        return max(times) - min(times)


def _cold() -> Case:
    """``make demo`` in a fresh checkout without virtual environment, with empty caches: everything is fetched and installed."""
    with scratch() as folder:
        code, home = _checkout(folder / "code"), folder / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR")}
        environment = {**kept, "HOME": str(home), "PIP_NO_CACHE_DIR": "1"}
        try:
            seconds, _ = _timed(["make", "-s", "demo"], code, environment)
        finally:
            _timed(["make", "-s", "clean"], code, environment)
    return Case(Series((seconds,)), goal=COLD, name="cold demo", notes=("make demo in a fresh checkout, all fetched: depends on the connection",))


def _timed(command: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[float, str]:
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return seconds, done.stdout


def _variables(exports: str) -> dict[str, str]:
    """The variables of ``export NAME=value`` lines, as a shell reads them."""
    shown = subprocess.run(["sh", "-c", f"{exports}\nenv -0"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)
