"""What a task tells of the tables its jobs wrote."""

from __future__ import annotations

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.config.environments import read_environment
from include.config.vocabulary import Layer
from include.contract import JobResult, TableResult
from include.lake.assets import asset_of
from include.lake.names import table_in
from include.pods.outcome import publish

LOCAL = read_environment({})
RAW, BUILT, NOT_BUILT = (table_in(LOCAL, layer, name) for layer, name in ((Layer.RAW, "raw__a"), (Layer.STAGING, "stg__a"), (Layer.STAGING, "stg__b")))
TASK = "http://127.0.0.1:8080/dags/d/runs/r/tasks/t?try_number=1"


def test_events_carry_what_is_known_and_only_of_tables_that_were_written() -> None:
    outlets = [asset_of(LOCAL, table) for table in (RAW, BUILT, NOT_BUILT)]
    events = OutletEventAccessors()
    verified = JobResult(tables={str(RAW): TableResult(rows=3, bytes=100, snapshot_id=7, run_key="job:5", extra={"airbyte_job_id": 5})})
    built = JobResult(tables={str(BUILT): TableResult(rows=0, seconds=0.5, run_key="run")}, links={"run_results": "s3://work/run_results.json"})
    kept = publish(outlets, events, [verified, built], {"task": TASK})
    assert [asset.uri for asset in kept if isinstance(asset, Asset)] == [outlets[0].uri, outlets[1].uri]
    assert events[outlets[0]].extra == {"rows": 3, "bytes": 100, "snapshot_id": 7, "run_key": "job:5", "airbyte_job_id": 5, "links": {"task": TASK}}
    assert events[outlets[1]].extra == {"rows": 0, "seconds": 0.5, "run_key": "run", "links": {"task": TASK, "run_results": "s3://work/run_results.json"}}


def test_what_is_no_table_stays_an_outlet() -> None:
    other = AssetAlias(name="reports")
    assert publish([other], OutletEventAccessors(), [JobResult()], {}) == [other]
