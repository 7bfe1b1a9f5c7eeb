"""The progress document on an object store: a reader meets no error while the build replaces it."""

from __future__ import annotations

import threading

import model_triggers
import pytest

from include.jobs.warehouse.progress import ModelState, ProgressDocument
from include.operators.dbt import read_progress
from tests.lake.moto_server import moto

URL = "s3://lake/work/progress/warehouse/run.json"
READS = 60


def test_a_document_can_be_read_while_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto() as server:
        names = {"AWS_ENDPOINT_URL": server["s3.endpoint"], "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        assert model_triggers._read(URL) is None
        assert read_progress(URL) is None
        assert ProgressDocument.read(URL) is None
        document = ProgressDocument("run", attempt=1, selected=["model.a"])
        document.write(URL)
        done = threading.Event()

        def replace() -> None:
            while not done.is_set():
                document.attempt += 1
                document.nodes["model.a"] = ModelState("running", document.attempt)
                document.write(URL)

        writer = threading.Thread(target=replace)
        writer.start()
        try:
            found = [len(model_triggers._read(URL) or b"") for _ in range(READS)]
            read = read_progress(URL)
        finally:
            done.set()
            writer.join()
    assert all(found)
    assert read is not None
    assert read["attempt"] > 10, "the writer was at work"
