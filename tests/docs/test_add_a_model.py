"""The commands of the document: what dbt lists is what the graph says, and what the DAGs are given is what their build job is told."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from jinja2 import Environment

from include.config.files import ROOT
from include.jobs.warehouse import build
from include.lake.manifest import load_warehouse
from tests.dags.collected import dags_of
from tests.dags.test_groups import behind, selected_by_dbt
from tests.docs.test_documents import blocks
from tests.docs.test_work_beside_production import PYTHON

PATH = ROOT / "docs" / "howto" / "add-a-model.md"
SELECTOR = re.compile(r"source:(ol_warehouse_raw_data\.\w+)\+")
BLOCKS = {block.split()[1] if block.startswith("dbt") else block.split()[3]: block for block in blocks(PATH, "sh") if not block.startswith("make")}


def behind_the_block(block: str) -> set[str]:
    (source,) = SELECTOR.findall(block)
    warehouse = load_warehouse()
    return set(behind(warehouse, [f"source.open_learning.{source}"]))


def test_there_are_these_blocks() -> None:
    assert set(BLOCKS) == {"ls", "warehouse", "warehouse_engagement"}


def test_dbt_lists_what_is_behind_a_table(tmp_path: Path) -> None:
    folders = {"DBT_TARGET_PATH": str(tmp_path), "DBT_LOG_PATH": str(tmp_path), "PATH": PYTHON}
    done = subprocess.run(["bash", "-euc", BLOCKS["ls"]], cwd=ROOT, env={**os.environ, **folders}, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.rpartition(".")[2] for line in done.stdout.splitlines() if line.startswith("open_learning.")}
    by_id = load_warehouse().by_id
    assert listed == {by_id[model].name for model in behind_the_block(BLOCKS["ls"])}
    assert len(listed) > 10


@pytest.mark.parametrize("dag_id", ["warehouse", "warehouse_engagement"])
def test_a_run_of_the_dag_builds_what_is_behind_a_table(dag_id: str) -> None:
    """The trigger's parameters, through the DAG's own templates and the job's own flags, to dbt."""
    *_, flag, conf = shlex.split(BLOCKS[dag_id])
    assert flag == "--conf"
    given = json.loads(conf)
    dag = dags_of("production")[dag_id]
    declared = dict(dag["serialized"]["dag"]["params"])
    assert set(given) <= set(declared)
    command = [
        Environment(autoescape=False).from_string(part).render(params={**dict.fromkeys(declared, ""), **given}, run_id="r")
        for part in dag["tasks"]["build"]["commands"]
    ]
    parser = argparse.ArgumentParser()
    build.add_arguments(parser)
    parser.add_argument("--result")
    arguments = parser.parse_args(command[command.index("dbt-build") + 1 :])
    assert (arguments.min_date, arguments.max_date) == (given.get("min_date", ""), given.get("max_date", ""))
    assert arguments.exclude == ""
    variables = build.variables_of(arguments.min_date, arguments.max_date)
    (selected,) = selected_by_dbt(arguments.select, variables=variables).values()
    expected = behind_the_block(BLOCKS[dag_id])
    assert {node for node in selected if node.startswith("model.")} == expected
    by_id = load_warehouse().by_id
    assert {by_id[model].dag for model in expected} == {"" if dag_id == "warehouse" else dag_id}
