"""What a round of the Open edX domain left behind, held against what its sources say by other code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Any, TextIO

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.lake.names import table_in
from include.local import openedx_found as found
from include.local.airflow_api import Run
from include.local.data.engagement import REPORTS, EngagementTotals, report_rows, totals_of
from include.local.data.openedx_logs import DayLogs
from include.local.openedx import DEPLOYMENTS
from include.local.openedx_inputs import Inputs
from include.local.openedx_sources import Sources
from include.local.platform import Platform
from include.local.summary import Lake

TOLD = ("mitxonline", "xpro")  # MIT Learn does not list residential courses
SHOWN = 5  # differences of one check


@dataclass(frozen=True)
class Check:
    """One comparison: what it is about, what the lake (or MIT Learn) has, and what the sources say."""

    name: str
    found: Any
    expected: Any

    @property
    def differences(self) -> list[str]:
        """A line for each value that differs, with its place, what was found and what was expected; none when both say the same."""
        return list(_differences("", self.found, self.expected))

    def write(self, out: TextIO) -> bool:
        """Prints the check; whether both say the same."""
        lines = self.differences
        out.write(f"  {self.name:<60} {'DIFFERENT' if lines else 'equal'}\n")
        out.writelines(f"      {line}\n" for line in lines[:SHOWN])
        if len(lines) > SHOWN:
            out.write(f"      and {len(lines) - SHOWN} more\n")
        return not lines


def _differences(place: str, left: Any, right: Any) -> Iterator[str]:
    """Goes into mappings and dataclasses of one kind, so that a line names the one value that differs."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        pairs = [(key, left.get(key), right.get(key)) for key in sorted({*left, *right}, key=str)]
    elif is_dataclass(left) and type(left) is type(right):
        pairs = [(field.name, getattr(left, field.name), getattr(right, field.name)) for field in fields(left)]
    else:
        if left != right:
            yield f"{place}: found {_shown(left)}, expected {_shown(right)}".removeprefix(": ")
        return
    for key, one, other in pairs:
        name = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
        yield from _differences(f"{place}: {name}".removeprefix(": "), one, other)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def print_openedx_summary(platform: Platform, settings: EnvironmentSettings, inputs: Inputs, sources: Sources, *, runs: Sequence[Run], out: TextIO) -> bool:
    """Prints the summary; false when anything differs from its source."""
    lake = Lake(platform, settings)
    out.write("\nDAG runs\n")
    for dag_id in sorted({run.dag_id for run in runs}):
        own = [run for run in runs if run.dag_id == dag_id]
        states = ", ".join(f"{sum(run.state == state for run in own)} {state}" for state in sorted({run.state for run in own}))
        out.write(f"  {dag_id:<40} {states:<14} {sum(run.seconds for run in own):7.1f} s\n")
    out.write("\nLake\n")
    for table, rows in sorted(_tables(lake, settings).items()):
        out.write(f"  {table:<60} {rows:>10,} rows\n")
    reports = {name: found.reports(lake, settings, name) for name in DEPLOYMENTS}
    _print_reports({name: totals_of(rows) for name, rows in reports.items()}, out)
    out.write("\nChecked against the sources\n")
    checks = [
        *_log_checks(lake, settings, inputs),
        *_course_checks(lake, settings, sources),
        *_forum_checks(lake, settings, inputs),
        told_check(found.told(platform), sources),
        *(check for name, rows in reports.items() for check in report_checks(name, rows, found.days(lake, settings, name), inputs.day, sources)),
    ]
    right = [check.write(out) for check in checks]  # all of them are shown, whatever the first says
    return all(right)


def _print_reports(reports: Mapping[str, EngagementTotals], out: TextIO) -> None:
    out.write("\nEngagement reports\n")
    for name, one in reports.items():
        seen = f"{one.plays:,} plays, {one.watched_ms / 3_600_000:,.1f} h watched ({one.played_ms / 3_600_000:,.1f} h played)"
        out.write(f"  {name:<12} {seen}, {one.attempts:,} answers, {one.correct:,} of them right, {one.views:,} pages opened\n")


def _tables(lake: Lake, settings: EnvironmentSettings) -> dict[str, int]:
    schema = settings.schema_for(Layer.RAW)
    names = [row[0] for row in lake.rows(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'")]  # noqa: S608
    return {name: int(_one(lake, settings, name, "count(*)")) for name in names if "__openedx__" in name and "__mysql__" not in name}


def _one(lake: Lake, settings: EnvironmentSettings, table: str, expression: str) -> Any:
    return lake.rows(f"SELECT {expression} FROM {_sql(settings, table)}")[0][0]  # noqa: S608


def _sql(settings: EnvironmentSettings, table: str) -> str:
    return table_in(settings, Layer.RAW, table).sql


# --- what is compared ------------------------------------------------------------------------------


def _log_checks(lake: Lake, settings: EnvironmentSettings, inputs: Inputs) -> Iterator[Check]:
    """The raw events of the day, against what the generator wrote."""
    for name, logs in inputs.logs.items():
        table = f"raw__{name}__openedx__tracking_logs"
        rows = _one(lake, settings, table, f"count_if(log_day = DATE '{inputs.day}')")
        yield Check(f"{name}: events in the logs of {inputs.day}", rows, logs.events)
        by_type = dict(lake.rows(f"SELECT event_type, count(*) FROM {_sql(settings, table)} WHERE log_day = DATE '{inputs.day}' GROUP BY 1"))  # noqa: S608
        yield Check(f"{name}: events by type", by_type, dict(_by_type(logs)))


def _course_checks(lake: Lake, settings: EnvironmentSettings, sources: Sources) -> Iterator[Check]:
    """Which course runs are loaded, in which edition and with what in them, against the deployments' own lists and archives."""
    for name, record in sources.courses.items():
        yield Check(f"{name}: course runs loaded, and what is in them", found.courses(lake, settings, name), record.loaded)


def _forum_checks(lake: Lake, settings: EnvironmentSettings, inputs: Inputs) -> Iterator[Check]:
    for name, counts in inputs.forums.items():
        for collection, documents in counts.items():
            table = _sql(settings, f"raw__{name}__openedx__mongodb__forum__{collection}")
            newest = f"SELECT count(*) FROM {table} WHERE retrieved_at = (SELECT max(retrieved_at) FROM {table})"  # noqa: S608 - what is deleted keeps its row
            yield Check(f"{name}: documents of the forum's {collection}", lake.rows(newest)[0][0], documents)


def told_check(heard: Mapping[tuple[str, ...], int], sources: Sources) -> Check:
    """What the receiver has applied, against one event for every archive that a sweep had to bring about."""
    expected = Counter(
        (name, course, course, f"{name}/openedx/raw_data/course_xml/{course}/{sha256}.xml.tar.gz")
        for name in TOLD
        for course, sha256 in sources.courses[name].told
    )
    return Check("course runs that MIT Learn knows of", heard, expected)


def report_checks(deployment: str, rows: found.Reports, days: Sequence[date], today: date, sources: Sources) -> Iterator[Check]:
    """The engagement reports row by row against the acts of learners, as the generator told them when it wrote the logs.

    Reports sum up all days in the lake. Logs that a round delivered and, being killed, did not load are not expected; those of ``today`` are.
    """
    delivered = sources.acts.get(deployment, {})
    expected_days = [day for day in delivered if day in days or day == today]
    yield Check(f"{deployment}: days of tracking logs", [str(day) for day in days], [str(day) for day in expected_days])
    expected = report_rows(act for day in expected_days for act in delivered[day])
    for report in REPORTS:
        yield Check(f"{deployment}: {report}", rows[report], expected[report])
    yield Check(f"{deployment}: totals of the engagement reports", totals_of(rows), totals_of(expected))


def _by_type(logs: DayLogs) -> Counter[str]:
    """Events of each type, as they were thought up."""
    counted: Counter[str] = Counter()
    for (_, event_type, _, _), events in logs.totals.events.items():
        counted[event_type] += events
    return counted
