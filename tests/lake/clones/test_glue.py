"""Clones on the catalog and the store of QA: a pull request makes and fills them, QA sweeps them, and neither touches what is the other's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest

from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.lake.catalog import ensure_schema, location_of, open_catalog
from include.lake.clones import create as create_module
from include.lake.clones.create import Done, create_clone, make_schemas
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake, views_of
from include.lake.clones.registry import clones_of
from include.lake.metadata import pointers, publish
from include.lake.rights import ForbiddenError
from tests.lake.moto_server import moto
from tests.own_lake import process_in

from .tables import PR, base_of, clone_of, content, data_files, everything_below, new_table, rows_of, seen, tags_of

BUCKETS = {"qa": "ol-data-lake-qa", "branch": "ol-data-lake-branch"}


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """moto with the buckets of both environments."""
    with moto() as properties:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=properties["s3.endpoint"], region_name="us-east-1", **keys)
        for bucket in BUCKETS.values():
            client.create_bucket(Bucket=bucket)
        yield properties


@contextmanager
def lake_of(environment: str, server: dict[str, str], **variables: str) -> Iterator[Lake]:
    """This process as one of an environment, with its lake."""
    with process_in(environment, **{"OL_SCHEMA_SUFFIX": "", **variables}):
        settings = current_environment()
        yield Lake(settings, open_catalog(settings, {**server, "warehouse": f"s3://{BUCKETS[environment]}/warehouse"}))


@pytest.fixture
def base(server: dict[str, str]) -> Iterator[None]:
    with lake_of("qa", server) as qa:
        for schema in qa.base_schemas.values():
            ensure_schema(qa.catalog, schema)
        new_table(qa, "orders")
    yield
    with lake_of("qa", server) as qa:
        for clone in clones_of(qa):
            remove(qa, plan_clone_drop(qa, clone.pull_request))
        qa.catalog.drop_table((qa.base_schemas[Layer.MART], "orders"))
        qa.store.delete([file.location for file in qa.store.list(f"s3://{BUCKETS['qa']}/warehouse")])


def test_a_base_without_a_schema_has_no_tables_in_it(server: dict[str, str]) -> None:
    with lake_of("qa", server) as qa:
        for listed in (pointers, views_of):
            assert listed(qa.catalog, "ol_warehouse_qa_that_nobody_made") == []


def test_a_pull_request_works_beside_qa_and_qa_sweeps_it(base: None, server: dict[str, str]) -> None:
    with lake_of("qa", server) as qa:
        table = base_of(qa, "orders")
        rows, files = content(table), data_files(qa, table)
    with lake_of("branch", server, OL_SCHEMA_SUFFIX=f"pr_{PR}") as branch:
        (cloned,) = create_clone(branch, PR)
        assert cloned.done is Done.CLONED
        clone = clone_of(branch, "orders")
        assert clone.location().startswith(f"s3://{BUCKETS['branch']}/warehouse/ol_warehouse_qa_mart_pr_{PR}/orders-")
        clone.append(rows_of(100, 2, "clone"))
        clone.delete("id = 1")
        assert content(clone_of(branch, "orders")) == (*(row for row in rows if row[0] != 1), (100, "clone"), (101, "clone"))
        assert [one.done for one in create_clone(branch, PR)] == [Done.EXISTS]
        with pytest.raises(ForbiddenError, match=f"branch with suffix pr_{PR} may not write s3://ol-data-lake-qa"):
            base_of(branch, "orders").append(rows_of(1, 1))
    with lake_of("qa", server) as qa:
        assert [(clone.pull_request, clone.tables, clone.pinned) for clone in clones_of(qa)] == [(PR, 1, 1)]
        assert (content(base_of(qa, "orders")), data_files(qa, base_of(qa, "orders"))) == (rows, files)
        remove(qa, plan_clone_drop(qa, PR))
        assert clones_of(qa) == []
        assert list(qa.store.list(f"s3://{BUCKETS['branch']}/warehouse")) == []
        assert everything_below(qa, f"_pr_{PR}") == []
        assert tags_of(qa, base_of(qa, "orders")) == {}
        assert (content(base_of(qa, "orders")), data_files(qa, base_of(qa, "orders"))) == (rows, files)


def test_schemas_that_qa_makes_for_a_pull_request_are_its_own(base: None, server: dict[str, str]) -> None:
    """As when CI says that it was opened: they lie where the pull request may write."""
    with lake_of("qa", server) as qa:
        made = make_schemas(qa, f"pr_{PR}", {})
        assert location_of(qa.catalog, made[Layer.MART]) == f"s3://{BUCKETS['branch']}/{made[Layer.MART]}"
    with lake_of("branch", server, OL_SCHEMA_SUFFIX=f"pr_{PR}") as branch:
        create_clone(branch, PR)
        clone_of(branch, "orders").append(rows_of(100, 2, "clone"))
        remove(branch, plan_clone_drop(branch, PR))
        assert clones_of(branch) == []


def test_a_pull_request_drops_its_own_clone_and_no_other(base: None, server: dict[str, str]) -> None:
    for number in (PR, 77):
        with lake_of("branch", server, OL_SCHEMA_SUFFIX=f"pr_{number}") as branch:
            create_clone(branch, number)
    with lake_of("branch", server, OL_SCHEMA_SUFFIX="pr_77") as branch:
        before = seen(branch, clone_of(branch, "orders", pull_request=PR))
        remove(branch, plan_clone_drop(branch, 77))
        assert seen(branch, clone_of(branch, "orders", pull_request=PR)) == before
        assert set(tags_of(branch, base_of(branch, "orders"))) == {f"clone_pr_{PR}"}


def test_a_commit_of_qa_that_comes_in_between_is_met(base: None, server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata file that lost the race lies in QA's folder; the pull request takes it back, and may take back nothing else there."""
    moves = iter(range(2))

    def moved(*arguments):
        if next(moves, None) is not None:
            with lake_of("qa", server) as qa:
                base_of(qa, "orders").append(rows_of(50, 1))
            with process_in("branch", OL_SCHEMA_SUFFIX=f"pr_{PR}"):
                return publish(*arguments)
        return publish(*arguments)

    with lake_of("branch", server, OL_SCHEMA_SUFFIX=f"pr_{PR}") as branch:
        monkeypatch.setattr(create_module, "publish", moved)
        (cloned,) = create_clone(branch, PR)
    with lake_of("qa", server) as qa:
        assert tags_of(qa, base_of(qa, "orders")) == {f"clone_pr_{PR}": cloned.snapshot_id}
        assert cloned.snapshot_id == base_of(qa, "orders").metadata.current_snapshot_id
        assert len(content(base_of(qa, "orders"))) == 8
