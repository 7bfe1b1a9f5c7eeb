"""A unit that cannot be built leaves a DAG that says why, whatever went wrong."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.exceptions import AirflowFailException

from include.config.errors import ConfigError, Problem
from include.factories.broken import build_or_explain


def half_made() -> DAG:
    with DAG("airbyte__x", schedule=None, auto_register=False) as dag:
        BaseOperator(task_id="sync")
        raise KeyError("stream")
    return dag


def test_a_fault_in_a_factory_is_told_by_the_dag_itself() -> None:
    dag = build_or_explain("airbyte__x", half_made)
    assert (dag.dag_id, dag.tags, dag.task_ids) == ("airbyte__x", {"config:broken"}, ["configuration"])
    assert dag.doc_md is not None
    for part in ("The code that builds this DAG failed", "KeyError: 'stream'", "test_broken.py", "half_made"):
        assert part in dag.doc_md
    with pytest.raises(AirflowFailException, match="KeyError: 'stream'"):
        dag.get_task("configuration").execute({})
    assert DagContext.get_current_dag() is None
    assert "airbyte__x" not in {known.dag_id for known, _ in DagContext.autoregistered_dags}


def test_a_configuration_error_is_told_without_the_code_s_way_to_it() -> None:
    def refuse() -> DAG:
        raise ConfigError((Problem("airbyte/x.yml", "owner", "'nobody'", "'data-platform'"),))

    dag = build_or_explain("airbyte__x", refuse)
    assert dag.doc_md is not None
    assert "This unit's configuration cannot be used" in dag.doc_md
    assert "Traceback" not in dag.doc_md


def test_what_can_be_built_is_left_as_it_is() -> None:
    good = DAG("airbyte__x", schedule=None, auto_register=False)
    assert build_or_explain("airbyte__x", lambda: good) is good
