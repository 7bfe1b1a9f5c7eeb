"""A task that comes back from its trigger before its first half's end is known: with Airflow's own executor, its workers and its taking in of their words."""

from __future__ import annotations

from pathlib import Path

from tests.plugins.scheduler_process import told, variables_in

# both halves work until they are let go; what the scheduler does in each round is done as it does it
TWICE = """
import multiprocessing, time
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.task import ExecuteTask, TaskInstanceDTO

begun, ends = multiprocessing.Value("i"), [multiprocessing.Event(), multiprocessing.Event()]
def work(workload, **_):
    with begun:
        begun.value += 1
        end = ends[begun.value - 1]
    end.wait(60)
BaseExecutor.run_workload = staticmethod(work)
ti = TaskInstanceDTO(id=task("deferred", own, "queued"), dag_version_id=uuid.uuid4(), task_id="deferred", dag_id="d", run_id="r", try_number=1,
    map_index=-1, pool_slots=1, queue="default", priority_weight=1)
half = ExecuteTask(token="", dag_rel_path="d.py", bundle_info=BundleInfo(name="b"), log_path=None, ti=ti)
def rounds_until(enough):
    last = time.monotonic() + 30
    while not enough() and time.monotonic() < last:
        executor.heartbeat()
        with Session() as session:
            runner._process_executor_events(executor=executor, session=session)
            session.commit()
        time.sleep(0.05)
def seen():
    return [states(TaskInstance.state)["deferred"], begun.value]
executor.start()
try:
    executor.queue_workload(half, session=None)
    rounds_until(lambda: begun.value == 1)
    executor.queue_workload(half, session=None)  # its trigger has fired
    passed = iter(range(5))
    rounds_until(lambda: next(passed, None) is None)
    told["first half at work"] = seen()
    ends[0].set()
    rounds_until(lambda: begun.value == 2)
    passed = iter(range(5))
    rounds_until(lambda: next(passed, None) is None)
    told["second half at work"] = seen()
finally:
    for end in ends:
        end.set()
    executor.end()
"""


def test_the_second_half_waits_for_the_first_ones_word_and_keeps_its_try(tmp_path: Path) -> None:
    found = told(TWICE, {**variables_in(tmp_path), "AIRFLOW__CORE__PARALLELISM": "2"})
    assert found == {"first half at work": ["queued", 1], "second half at work": ["queued", 2]}
