"""The outbox as analysts read it: each event once, as it is now; a run that is repeated or has nothing new writes nothing."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import pytest
from pyiceberg.table import Table

from include.config.environments import current_environment
from include.jobs.openedx.webhooks import mirror
from include.lake.catalog import open_catalog
from include.local.platform import Platform
from tests.jobs.openedx.webhooks.harness import World, event, run_job
from tests.own_lake import new_lake


@pytest.fixture
def lake_variables(world: World, postgres: Platform, tmp_path: Any) -> World:
    """A catalog of the test's own."""
    for name, value in new_lake(postgres, tmp_path).items():
        world.patch.setenv(name, value)
    world.patch.setenv("PYICEBERG_HOME", str(tmp_path))
    return world


def table() -> Table:
    return open_catalog(current_environment()).load_table(("ol_warehouse_local_raw", mirror.TABLE))


def rows() -> dict[str, dict[str, Any]]:
    found = table().scan().to_arrow().to_pylist()
    assert len({row["event_id"] for row in found}) == len(found)
    return {row["event_id"]: row for row in found}


def test_the_mirror_follows_the_outbox(lake_variables: World) -> None:
    world = lake_variables
    world.enqueue(event(1, 1), event(2, 1))
    assert run_job("webhook-mirror", "--run-key", "r1") == {"changed": 2, "committed": True}
    assert {row["state"] for row in rows().values()} == {"pending"}
    assert run_job("webhook-mirror", "--run-key", "r2") == {"changed": 0, "committed": False}

    world.enqueue(event(1, 2))
    world.learn.faults({"status": 400})
    world.deliver("--at-once", "1")
    assert run_job("webhook-mirror", "--run-key", "r3") == {"changed": 3, "committed": True}
    found = rows()
    dead = found[str(event(1, 1).id)]
    assert (dead["state"], dead["status"], dead["attempts"]) == ("dead", 400, 1)
    delivered = found[str(event(1, 2).id)]
    assert (delivered["state"], delivered["key_id"], delivered["lane"]) == ("delivered", "old", event(1).lane)
    assert (delivered["body"].encode(), delivered["body_sha256"]) == (event(1, 2).body, hashlib.sha256(event(1, 2).body).hexdigest())
    source = world.row(event(1, 2))
    assert all(isinstance(delivered[name], datetime) and delivered[name] == source[name] for name in ("queued_at", "created_at", "updated_at", "settled_at"))


def test_a_repeated_run_writes_nothing(lake_variables: World) -> None:
    world = lake_variables
    world.enqueue(event(1))
    run_job("webhook-mirror", "--run-key", "r1")
    world.enqueue(event(2))
    location = table().metadata_location
    assert run_job("webhook-mirror", "--run-key", "r1")["committed"] is False
    assert table().metadata_location == location
    assert run_job("webhook-mirror", "--run-key", "r2") == {"changed": 1, "committed": True}


def test_a_row_that_became_visible_late_is_not_missed(lake_variables: World) -> None:
    world = lake_variables
    world.enqueue(event(1))
    run_job("webhook-mirror", "--run-key", "r1")
    world.enqueue(event(2))
    world.execute("UPDATE webhooks.events SET updated_at = updated_at - interval '5 minutes' WHERE id = %s", [event(2).id])
    assert run_job("webhook-mirror", "--run-key", "r2")["changed"] == 1
    assert str(event(2).id) in rows()
