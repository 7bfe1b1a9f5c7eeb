"""What a round of the Open edX domain left behind, held against what its sources say by other code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.lake.names import table_in
from include.local.airflow_api import Run
from include.local.data.engagement import EngagementTotals, engagement_totals, landed_events
from include.local.data.openedx_logs import DayLogs
from include.local.data.openedx_runs import runs_from_databases
from include.local.loopback import DIRECT
from include.local.openedx import DEPLOYMENTS
from include.local.openedx_inputs import Inputs
from include.local.platform import Platform
from include.local.summary import Lake

TOLD = ("mitxonline", "xpro")  # MIT Learn does not list residential courses
# The totals of each report, in the order of EngagementTotals.
REPORTS = {
    "video_engagement_report": "sum(play_count), sum(completion_count), sum(played_seconds) * 1000, sum(watched_seconds) * 1000",
    "problem_engagement_report": "sum(attempt_count), sum(correct_attempt_count)",
    "page_engagement_report": "sum(view_count), sum(close_count)",
}


@dataclass(frozen=True)
class Check:
    """One comparison: what it is about, what the lake (or MIT Learn) has, and what the sources say."""

    name: str
    found: Any
    expected: Any

    @property
    def right(self) -> bool:
        """Whether both say the same."""
        return bool(self.found == self.expected)


def print_openedx_summary(platform: Platform, settings: EnvironmentSettings, inputs: Inputs, runs: Sequence[Run], out: TextIO) -> bool:
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
    reports = {name: _report(lake, settings, name) for name in DEPLOYMENTS}
    _print_reports(reports, out)
    out.write("\nChecked against the sources\n")
    right = True
    counted = [Check(f"{name}: totals of the engagement reports", found, _counted(platform, name)) for name, found in reports.items()]
    for check in (*_checks(platform, lake, settings, inputs), *counted):
        right = right and check.right
        out.write(f"  {check.name:<60} {'equal' if check.right else f'DIFFERENT: found {check.found}, expected {check.expected}'}\n")
    return right


def _report(lake: Lake, settings: EnvironmentSettings, deployment: str) -> EngagementTotals:
    """The totals of the three reports for a deployment."""
    values: list[int] = []
    for report, columns in REPORTS.items():
        table = table_in(settings, Layer.REPORTING, report).sql
        values += [int(value or 0) for value in lake.rows(f"SELECT {columns} FROM {table} WHERE platform = '{deployment}'")[0]]  # noqa: S608
    return EngagementTotals(*values)


def _print_reports(reports: Mapping[str, EngagementTotals], out: TextIO) -> None:
    out.write("\nEngagement reports\n")
    for name, one in reports.items():
        seen = f"{one.plays:,} plays, {one.watched_ms / 3_600_000:,.1f} h watched ({one.played_ms / 3_600_000:,.1f} h played)"
        out.write(f"  {name:<12} {seen}, {one.attempts:,} answers, {one.correct:,} of them right, {one.views:,} pages opened\n")


def _counted(platform: Platform, deployment: str) -> EngagementTotals:
    """The same, counted from the landed events by other code."""
    return engagement_totals(landed_events(platform.paths.state / "landing", deployment))


def _tables(lake: Lake, settings: EnvironmentSettings) -> dict[str, int]:
    schema = settings.schema_for(Layer.RAW)
    names = [row[0] for row in lake.rows(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'")]  # noqa: S608
    return {name: int(_one(lake, settings, name, "count(*)")) for name in names if "__openedx__" in name and "__mysql__" not in name}


def _one(lake: Lake, settings: EnvironmentSettings, table: str, expression: str) -> Any:
    return lake.rows(f"SELECT {expression} FROM {_sql(settings, table)}")[0][0]  # noqa: S608


def _checks(platform: Platform, lake: Lake, settings: EnvironmentSettings, inputs: Inputs) -> Iterator[Check]:
    loaded: dict[str, set[str]] = {}
    for name in DEPLOYMENTS:
        listed = {run.id: run.published_version for run in runs_from_databases(platform.postgres_dsn, name)}
        table = table_in(settings, Layer.RAW, f"raw__{name}__openedx__course_xml__metadata").sql
        rows = dict(lake.rows(f"SELECT course_id, published_version FROM {table}"))  # noqa: S608
        loaded[name] = set(rows)
        yield Check(f"{name}: course runs that are listed, of those loaded", sorted(set(rows) - set(listed)), [])
    for name, logs in inputs.logs.items():
        table = f"raw__{name}__openedx__tracking_logs"
        rows = _one(lake, settings, table, f"count_if(log_day = DATE '{inputs.day}')")
        yield Check(f"{name}: events in the logs of {inputs.day}", rows, logs.events)
        by_type = dict(lake.rows(f"SELECT event_type, count(*) FROM {_sql(settings, table)} WHERE log_day = DATE '{inputs.day}' GROUP BY 1"))  # noqa: S608
        yield Check(f"{name}: events by type", by_type, dict(_by_type(logs)))
    for name, counts in inputs.forums.items():
        for collection, documents in counts.items():
            table = _sql(settings, f"raw__{name}__openedx__mongodb__forum__{collection}")
            newest = f"SELECT count(*) FROM {table} WHERE retrieved_at = (SELECT max(retrieved_at) FROM {table})"  # noqa: S608 - what is deleted keeps its row
            yield Check(f"{name}: documents of the forum's {collection}", lake.rows(newest)[0][0], documents)
    expected = sorted((name, course) for name in TOLD for course in loaded[name])  # two deployments may have a run of one name
    yield Check("course runs that MIT Learn knows of", sorted(_applied(platform)), expected)


def _sql(settings: EnvironmentSettings, table: str) -> str:
    return table_in(settings, Layer.RAW, table).sql


def _by_type(logs: DayLogs) -> Counter[str]:
    """Events of each type, as they were thought up."""
    found: Counter[str] = Counter()
    for (_, event_type, _, _), events in logs.totals.events.items():
        found[event_type] += events
    return found


def _applied(platform: Platform) -> set[tuple[str, str]]:
    """Deployment and course run of the events that MIT Learn's receiver has applied."""
    with DIRECT.open(f"{platform.learn_url}/_applied", timeout=30) as answer:
        events = json.loads(answer.read())
    bodies = [json.loads(event["body"]) for event in events]
    return {(body["source"], body["course_id"]) for body in bodies}
