"""No environment changes what is another's, whichever way it is tried; production's names least of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from include.config.environments import read_environment
from include.config.vocabulary import Environment, Layer
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.metadata import register
from include.lake.names import TableRef
from include.lake.objects import LocalStore, ObjectStore, S3Store, s3_client
from include.lake.rights import ForbiddenError, Rights
from include.lake.storage import LakeFileIO
from tests.own_lake import process_in

ROWS = pa.schema([pa.field("n", pa.int64())])
OTHERS = {"local": {}, "branch": {"OL_SCHEMA_SUFFIX": "pr_7"}, "qa": {}}
PRODUCTION = read_environment(
    {
        "OL_ENVIRONMENT": "production",
        "OL_CLUSTER": "production",
        "OL_IMAGE_TAG": "1",
        "OL_IMAGE_DIGESTS": ",".join(f"{name}=sha256:{'0' * 64}" for name in ("jobs", "dbt", "openedx")),
    }
)
MART = PRODUCTION.schema_for(Layer.MART)
FILE = f"{PRODUCTION.lake.warehouse}/{MART}/t/data/1.parquet"


def s3() -> ObjectStore:
    """Never asked: the answer comes before the first request, and there is nothing at this address."""
    return S3Store(s3_client({"s3.endpoint": "http://127.0.0.1:9", "s3.access-key-id": "x", "s3.secret-access-key": "x"}))


def catalog_of(properties: dict[str, str], name: str = PRODUCTION.lake.catalog):
    return open_catalog(name, properties)


ATTEMPTS: dict[str, Callable[[dict[str, str]], object]] = {
    "create a schema": lambda p: ensure_schema(catalog_of(p), MART),
    "create a schema by a hand-made catalog": lambda p: ensure_schema(catalog_of(p, "my_own"), MART),
    "create a table": lambda p: ensure_table(catalog_of(p), TableRef(PRODUCTION.lake.catalog, MART, "t"), ROWS),
    "commit": lambda p: _existing(p).append(pa.table({"n": [1]}, schema=ROWS)),
    "drop": lambda p: catalog_of(p).drop_table((MART, "seen")),
    "purge": lambda p: catalog_of(p).purge_table((MART, "seen")),
    "rename away": lambda p: catalog_of(p).rename_table((MART, "seen"), ("mine", "seen")),
    "rename into": lambda p: catalog_of(p).rename_table(("mine", "t"), (MART, "t2")),
    "register": lambda p: register(catalog_of(p), MART, "t", FILE),
    "register by pyiceberg": lambda p: catalog_of(p).register_table((MART, "t"), FILE),
    "drop the schema": lambda p: catalog_of(p).drop_namespace(MART),
    "change the schema": lambda p: catalog_of(p).update_namespace_properties(MART, updates={"location": "s3://elsewhere"}),
    "write a file": lambda _: LakeFileIO({}).new_output(FILE),
    "delete a file": lambda _: LakeFileIO({}).delete(FILE),
    "create an object": lambda _: s3().create(FILE, b"x"),
    "delete objects": lambda _: s3().delete([FILE]),
    "move an object away": lambda _: s3().move(FILE, "s3://ol-data-lake-qa/x"),
    "copy an object over one": lambda _: s3().copy("s3://ol-data-lake-qa/x", FILE),
    "write anywhere in the bucket": lambda _: s3().create("s3://ol-data-lake-production/elsewhere", b"x"),
}


def _existing(properties: dict[str, str]):
    return catalog_of(properties).load_table((MART, "seen"))


@pytest.fixture(scope="module")
def production_lake(catalog_properties: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A catalog with one table under a production name, made by production itself."""
    properties = {**catalog_properties, "local.root": str(tmp_path_factory.mktemp("production")), "warehouse": "local:///production"}
    digests = ",".join(f"{name}=sha256:{'0' * 64}" for name in ("jobs", "dbt", "openedx"))
    with process_in("production", OL_CLUSTER="production", OL_IMAGE_DIGESTS=digests), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rights, "check_location", lambda *_: None)  # production has no laptop's files
        made = ensure_table(open_catalog(PRODUCTION.lake.catalog, properties), TableRef(PRODUCTION.lake.catalog, MART, "seen"), ROWS)
        made.append(pa.table({"n": [7]}, schema=ROWS))
    return properties


@pytest.mark.parametrize("environment", OTHERS)
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nobody_else_changes_production(environment: str, attempt: str, production_lake: dict[str, str]) -> None:
    with process_in(environment, **OTHERS[environment]):
        with pytest.raises(ForbiddenError, match=r"may not .*; allowed: "):
            ATTEMPTS[attempt](production_lake)
        assert _existing(production_lake).scan().to_arrow()["n"].to_pylist() == [7]


# schema, environment, suffix → whether it may be written
TABLE = (
    ("ol_warehouse_local_mart", "local", "", True),
    ("ol_warehouse_local_mart", "local", "anna", False),
    ("ol_warehouse_local_mart_anna", "local", "anna", True),
    ("ol_warehouse_local_mart_anna", "local", "bert", False),
    ("ol_warehouse_local_raw", "local", "anna", True),
    ("scratch", "local", "", True),
    ("scratch", "qa", "", False),
    ("ol_warehouse_qa_mart", "local", "", False),
    ("ol_warehouse_qa_mart", "branch", "pr_7", False),
    ("ol_warehouse_qa_raw", "branch", "pr_7", False),
    ("ol_warehouse_qa_mart_pr_7", "branch", "pr_7", True),
    ("ol_warehouse_qa_mart_pr_8", "branch", "pr_7", False),
    ("ol_warehouse_qa_mart_pr_77", "branch", "pr_7", False),
    ("ol_warehouse_qa_mart", "qa", "", True),
    ("ol_warehouse_qa_mart_pr_7", "qa", "", True),
    ("ol_warehouse_qa_mart_anna", "qa", "", False),
    ("ol_warehouse_qa_mart_anna", "qa", "anna", True),
    ("ol_warehouse_qa_martian", "qa", "", False),
    ("ol_warehouse_qa_mart", "production", "", False),
    ("ol_warehouse_production_mart", "production", "", True),
    ("ol_warehouse_production_mart_pr_7", "production", "", False),
    *(("ol_warehouse_production_raw", name, suffix, False) for name, suffix in (("local", ""), ("branch", "pr_7"), ("qa", ""), ("qa", "anna"))),
)


@pytest.mark.parametrize(("schema", "environment", "suffix", "allowed"), TABLE)
def test_schemas_by_environment(schema: str, environment: str, suffix: str, allowed: bool) -> None:
    rights = Rights(Environment(environment), suffix)
    if allowed:
        rights.check_schema(schema)
    else:
        with pytest.raises(ForbiddenError, match=schema):
            rights.check_schema(schema)


def test_a_pull_request_may_only_pin_its_base() -> None:
    rights = Rights(Environment.BRANCH, "pr_7")
    rights.check_tag("ol_warehouse_qa_mart", "clone_pr_7")
    rights.check_location("s3://ol-data-lake-qa/ol_warehouse_qa_mart/t/metadata/00002-x.metadata.json")
    for schema, tag in (("ol_warehouse_qa_mart", "clone_pr_8"), ("ol_warehouse_production_mart", "clone_pr_7"), ("ol_warehouse_qa_mart", "main")):
        with pytest.raises(ForbiddenError):
            rights.check_tag(schema, tag)
    with pytest.raises(ForbiddenError):
        rights.check_location("s3://ol-data-lake-qa/ol_warehouse_qa_mart/t/metadata/00002-x.metadata.json", "delete")
    with pytest.raises(ForbiddenError):
        rights.check_location("s3://ol-data-lake-qa/ol_warehouse_qa_mart/t/data/x.parquet")


def test_a_laptops_files_are_free(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("local:///warehouse/a/b", b"1")
    store.move("local:///warehouse/a/b", "local:///warehouse/c/d")
    assert [(entry.location, entry.size) for entry in store.list("local:///warehouse")] == [("local:///warehouse/c/d", 1)]
    with pytest.raises(FileExistsError):
        store.create("local:///warehouse/c/d", b"2")
    store.delete(["local:///warehouse/c/d", "local:///warehouse/gone"])
    assert list(store.list("local:///warehouse")) == []
