"""The progress document on an object store: a reader meets no error while the build replaces it."""

from __future__ import annotations

import threading

import model_triggers

from include.jobs.warehouse.progress import ModelState, ProgressDocument
from include.operators.dbt import read_progress
from tests.lake.moto_server import moto
from tests.variables import object_store_at

URL = "s3://lake/work/progress/warehouse/run.json"
READS = 60


def test_a_document_can_be_read_while_it_is_replaced() -> None:
    with moto() as server, object_store_at(server["s3.endpoint"]):
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
