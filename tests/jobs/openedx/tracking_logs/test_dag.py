"""What a unit says of a deployment's tracking logs, and what the DAG makes of it for each kind of run."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunType

from include.config.environments import read_environment
from include.config.errors import ConfigError
from include.config.files import UNITS
from include.config.load import load_units_strictly
from include.config.openedx import OpenedxUnit
from include.factories.openedx import build_openedx_dags
from include.jobs.openedx.tracking_logs import job

GOOD = (UNITS / "openedx" / "mitx.yml").read_text(encoding="utf-8")
FIRST = "  first_day: 2017-06-13\n"
ENVIRONMENT = read_environment({"OL_ENVIRONMENT": "local"})


def unit(folder: Path, *lines: str) -> OpenedxUnit:
    """A unit that says more of its tracking logs."""
    assert GOOD.count(FIRST) == 1
    (folder / "openedx").mkdir()
    (folder / "openedx" / "mitx.yml").write_text(GOOD.replace(FIRST, FIRST + "".join(f"  {line}\n" for line in lines)), encoding="utf-8")
    (found,) = load_units_strictly("openedx", ENVIRONMENT, folder)
    assert isinstance(found, OpenedxUnit)
    return found


def started(unit: OpenedxUnit, kind: DagRunType) -> argparse.Namespace:
    """What the job makes of the command line that a run of that kind gives it."""
    task = build_openedx_dags(unit, ENVIRONMENT)["openedx__mitx__tracking_logs"]().get_task("normalise")
    context: Any = {"dag_run": SimpleNamespace(partition_key="2026-03-02", run_type=kind), "run_id": "a run"}
    parser = argparse.ArgumentParser()
    job.add_arguments(parser)
    return parser.parse_args(task.render_template(task.spec.arguments, context))


@pytest.mark.parametrize(("kind", "days"), [(DagRunType.SCHEDULED, 7), (DagRunType.BACKFILL, 0), (DagRunType.MANUAL, 0), (DagRunType.ASSET_MATERIALIZATION, 0)])
def test_the_daily_run_looks_back_and_no_other(tmp_path: Path, kind: DagRunType, days: int) -> None:
    found = started(unit(tmp_path), kind)
    assert (found.look_back_days, found.first_day, found.day, found.run_key, found.day_folder) == (days, date(2017, 6, 13), date(2026, 3, 2), "a run", "")


def test_what_the_unit_says_reaches_the_job(tmp_path: Path) -> None:
    found = started(unit(tmp_path, "look_back_days: 0", 'day_folder: "by/day=%Y%m%d"'), DagRunType.SCHEDULED)
    assert (found.look_back_days, found.day_folder) == (0, "by/day=%Y%m%d")


@pytest.mark.parametrize("cron", ["0 4 * * *", "30 23 * * *"])
def test_the_hour_is_the_units(tmp_path: Path, cron: str) -> None:
    dag = build_openedx_dags(unit(tmp_path, *([] if cron == "0 4 * * *" else [f'cron: "{cron}"'])), ENVIRONMENT)["openedx__mitx__tracking_logs"]()
    assert dag.timetable.expression == cron


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('cron: "0 */6 * * *"', "cron"),
        ('cron: "0 24 * * *"', "cron"),
        ('cron: "0 4 * * 1"', "cron"),
        ("cron: daily", "cron"),
        ("look_back_days: -1", "look_back_days"),
        ("look_back_days: 91", "look_back_days"),
        ('day_folder: "%Y/%m/%d"', "day_folder"),
        ('day_folder: "v1%Y-%m-%d"', "day_folder"),
        ('day_folder: "/%Y-%m-%d"', "day_folder"),
        ('day_folder: "logs"', "day_folder"),
    ],
)
def test_what_is_refused(tmp_path: Path, line: str, key: str) -> None:
    """Hours that are not one a day, and folders whose names would not tell the day."""
    with pytest.raises(ConfigError, match=rf"mitx\.yml: tracking_logs\.{key}: found"):
        unit(tmp_path, line)
