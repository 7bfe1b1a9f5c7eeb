"""The program of P1 that parses: run in a generated repository, with that repository first on the path.

After the imports every parse runs in a process forked from here, as Airflow's DAG processor forks one for each file, so that none
finds anything that an earlier one left in memory. Reads one request a line from standard input, answers each with one line of JSON.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path.cwd()
UNITS = ROOT / "include" / "units" / "airbyte"


MODULES = (
    "airbyte_api.api",
    "airflow.dag_processing.dagbag",
    "airflow.providers.airbyte.operators.airbyte",
    "airflow.providers.standard.operators.bash",
    "airflow.serialization.serialized_objects",
    "include.factories.airbyte",
    "include.factories.broken",
    "include.lake.manifest",
    "include.pods.process",
)


def imports() -> None:
    """All that a DAG processor has loaded before it forks, and what the DAG files themselves import."""
    for name in MODULES:
        importlib.import_module(name)
    include = sys.modules["include"].__file__
    assert include == str(ROOT / "include" / "__init__.py"), f"another repository's code is measured: {include}"


def warm_up() -> None:
    """Makes and serialises one throw-away DAG: what Airflow and its providers load at their first use counts as imports."""
    from airflow.sdk import DAG, Asset
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("throw_away", schedule=None) as dag:
        _operator()(task_id="any", outlets=[Asset(name="trino://h:1/a/b/c", uri="trino://h:1/a/b/c")])
    DagSerialization.to_dict(dag)


def _operator() -> Any:
    from airflow.sdk import BaseOperator

    class Operator(BaseOperator):
        def execute(self, context: Any) -> None: ...

    return Operator


def parse(file: str) -> dict[str, Any]:
    """Parses one DAG file and serialises its DAGs, as the DAG processor does."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG

    begin = time.perf_counter()
    bag = BundleDagBag(dag_folder=str(ROOT / file), bundle_path=ROOT, bundle_name="platform", load_op_links=False)
    parsed = time.perf_counter()
    found = [LazyDeserializedDAG(data=DagSerialization.to_dict(dag), last_loaded=dag.last_loaded) for dag in bag.dags.values()]
    end = time.perf_counter()
    if bag.import_errors:
        raise RuntimeError(str(bag.import_errors))
    return {"seconds": end - begin, "parse": parsed - begin, "serialise": end - parsed, **_facts(found)}


def _facts(found: list[Any]) -> dict[str, Any]:
    """How many DAGs, and an order-free checksum over their ids and the raw tables they bring."""
    pairs, assets = [], 0
    for dag in found:
        names = {outlet["__var"]["uri"] for task in dag.data["dag"]["tasks"] for outlet in task["__var"].get("outlets", ())}
        assets += len(names)
        pairs.append((dag.dag_id, sorted(name for name in names if "_raw/" in name)))
    return {"dags": len(pairs), "assets": assets, "checksum": hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()}


def task_start(dag_id: str) -> dict[str, Any]:
    """Parses the file as the start of one task does: for its own DAG."""
    from airflow.dag_processing.dagbag import BundleDagBag

    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    begin = time.perf_counter()
    bag = BundleDagBag(dag_folder=str(ROOT / "dags/ingest/airbyte.py"), bundle_path=ROOT, bundle_name="platform", load_op_links=False)
    seconds = time.perf_counter() - begin
    assert list(bag.dags) == [dag_id], (list(bag.dags), bag.import_errors)
    return {"seconds": seconds}


def read_json() -> dict[str, Any]:
    """The limit: the same contents as JSON texts, parsed, and one mapping made for every table."""
    texts = [path.read_bytes() for path in sorted((ROOT / "as_json").glob("*.json"))]
    begin = time.perf_counter()
    tables = [{"table": data["table_prefix"] + stream["name"], **stream} for data in map(json.loads, texts) for stream in data["streams"]]
    return {"seconds": time.perf_counter() - begin, "tables": len(tables)}


def bare() -> dict[str, Any]:
    """Airflow's own share: the same DAGs, tasks and assets from ready-made names, without configuration or factory."""
    import pendulum
    from airflow.sdk import DAG, Asset
    from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG

    operator = _operator()
    names = json.loads((ROOT / "assets.json").read_bytes())
    start = pendulum.datetime(2026, 1, 1, tz="UTC")
    dags = []
    begin = time.perf_counter()
    for dag_id, uris in names.items():
        with DAG(dag_id, schedule=None, start_date=start, catchup=False) as dag:
            operator(task_id="sync") >> operator(task_id="verify") >> operator(task_id="stage", outlets=[Asset(name=uri, uri=uri) for uri in uris])
        dags.append(dag)
    found = [LazyDeserializedDAG(data=DagSerialization.to_dict(dag)) for dag in dags]
    return {"seconds": time.perf_counter() - begin, "dags": len(found)}


def edit_one() -> None:
    """Changes a word in one unit file."""
    path = sorted(UNITS.glob("*.yml"))[0]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("tier: 2", "tier: 3") if "tier: 2" in text else text.replace("tier: 3", "tier: 2"), encoding="utf-8")


def forget() -> None:
    """Removes what earlier parses kept on disk."""
    for folder in (UNITS, ROOT / "include/dbt/open_learning/target"):
        for path in (folder / "__pycache__").glob("*.json"):
            path.unlink()


def look_each_up() -> dict[str, Any]:
    """The peer, asking for each connection."""
    os.environ["PEER_LOOK_EACH_UP"] = "yes"
    return parse("dags/peer/airbyte_at_parse_time.py")


REQUESTS: dict[str, tuple[Callable[[], None] | None, Callable[[], dict[str, Any]]]] = {
    "ours": (None, lambda: parse("dags/ingest/airbyte.py")),
    "first": (forget, lambda: parse("dags/ingest/airbyte.py")),
    "edited": (edit_one, lambda: parse("dags/ingest/airbyte.py")),
    "task": (None, lambda: task_start("airbyte__system0000__app")),
    "peer": (None, look_each_up),
    "listed": (None, lambda: parse("dags/peer/airbyte_at_parse_time.py")),
    "limit": (None, read_json),
    "bare": (None, bare),
}


def forked(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The function's answer, from a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as out:
                out.write(json.dumps(function()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("a forked parse failed; its error is above")
    return dict(json.loads(data))


def main() -> None:
    """Answers requests until standard input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Airflow prints must not come between the answers
    imports()
    warm_up()
    gc.collect()
    gc.freeze()  # as the DAG processor does before it forks
    for line in sys.stdin:
        prepare, function = REQUESTS[line.strip()]
        if prepare:
            prepare()
        out.write(json.dumps(forked(function)) + "\n")
        out.flush()


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    main()
