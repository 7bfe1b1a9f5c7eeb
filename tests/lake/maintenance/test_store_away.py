"""An S3 that answers ``503 SlowDown`` for a while in the midst of maintenance, of a clone and of a job's write.

Each either outlives it or fails with an error that names the store; the same again finishes, and no row is lost or doubled. All wait at the same time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from s3fs import S3FileSystem

from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.contract import TRANSIENT_EXIT, TransientError
from include.jobs.maintenance.state import Night as StateOfANight
from include.jobs.maintenance.state import Nights as State
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.clones.create import create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.clones.selection import Chosen
from include.lake.maintenance.quarantine import quarantine_of
from include.lake.names import TableRef
from include.lake.objects import S3Store, s3_client, store_of
from include.lake.store_errors import StoreError
from include.lake.writes import append_once, merge, overwrite_partition
from tests.jobs.maintenance.test_maintain_tables import job
from tests.lake.away import Proxy, away
from tests.lake.conftest import ROWS
from tests.lake.moto_server import moto
from tests.own_lake import process_in
from tests.variables import object_store_at, variables

from .conftest import AWAY, LATER, Night, content, rows

DEFAULT = 10.0
TABLES = 2


@dataclass
class Case:
    """One piece of work on tables of its own: ``work`` gets a catalog, ``check`` asserts that it is done, ``whole`` that nothing is lost meanwhile."""

    name: str
    work: Callable[[Catalog], object]
    whole: Callable[[], None]
    check: Callable[[], None]
    error: BaseException | None = None
    refused: int = 0


class Store:
    """moto's S3 and Glue; catalogs reach the first directly or by a proxy of their own."""

    def __init__(self, properties: dict[str, str]) -> None:
        self.properties = properties
        self.catalog = open_catalog(current_environment(), properties)
        self._lock = threading.Lock()

    def by(self, proxy: Proxy) -> Catalog:
        with self._lock:
            return open_catalog(current_environment(), {**self.properties, "s3.endpoint": proxy.address})

    def table(self, schema: str, name: str, *numbers: int) -> Table:
        found = ensure_table(self.catalog, TableRef(self.catalog.name, schema, name), ROWS)
        for number in numbers:
            found.append(rows(number))
        return found


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with process_in("qa"), moto() as properties:
        found = Store(properties)
        s3_client(properties).create_bucket(Bucket="ol-data-lake-branch")  # where pull requests' schemas lie
        for layer in Layer:
            ensure_schema(found.catalog, current_environment().schema_for(layer))
        yield found


@pytest.fixture(scope="module")
def seconds(request: pytest.FixtureRequest) -> float:
    asked = request.config.getoption(AWAY, default=None)
    return DEFAULT if asked is None else float(asked)


# --- what is disturbed -------------------------------------------------------------------------------


def maintenance(store: Store, number: int) -> Case:
    schema = f"{current_environment().schema_for(Layer.RAW)}_pr_{900 + number}"  # one of its own that QA may write
    tables = [store.table(schema, f"t_{one}", 1, 2, 3) for one in range(TABLES)]
    for table in tables:
        table.overwrite(rows(40))
        table.append(rows(41))
    expected = content(tables[0])
    before = {one.location for table in tables for one in store_of(store.catalog).list(table.location())}

    def whole() -> None:
        there = {one.location for table in tables for one in store_of(store.catalog).list(table.location())}
        taken = {one.origin for one in quarantine_of(store.catalog).files()}
        assert before <= there | taken
        for table in tables:
            assert content(store.catalog.load_table(table.name())) == expected

    def check() -> None:
        Night(store.catalog, schema).run(LATER)  # what the disturbed run wrote was not in the next one's listing
        whole()
        for table in tables:
            table.refresh()
            assert len(table.metadata.snapshots) == 1
            files = [one.location for one in store_of(store.catalog).list(table.location())]
            assert len([name for name in files if name.endswith(".parquet")]) == 2
            named = [table.metadata.current_snapshot().manifest_list, *table.metadata.current_snapshot().manifests(table.io)]
            assert len([name for name in files if name.endswith(".avro")]) == len(named)

    def work(catalog: Catalog) -> None:
        failed = [one for one in Night(catalog, schema).run(LATER).outcomes if one.error]
        assert not any(one.permanent for one in failed)
        if failed:
            raise TransientError("\n".join(one.error for one in failed))  # as the job does

    return Case(f"maintenance {number}", work, whole, check)


def clone(store: Store, number: int) -> Case:
    base = Lake(current_environment(), store.catalog)
    mart = base.base_schemas[Layer.MART]
    tables = [store.table(mart, f"clone_{number}_{one}", 1, 2) for one in range(TABLES)]
    pull_request = 100 + number

    def whole() -> None:
        for table in tables:
            assert content(store.catalog.load_table(table.name())) == [1, 2]

    def check() -> None:
        whole()
        schema = base.schemas_with(f"pr_{pull_request}")[Layer.MART]
        for table in tables:
            cloned = store.catalog.load_table((schema, table.name()[1]))
            assert content(cloned) == [1, 2]
            assert store.catalog.load_table(table.name()).metadata.refs[f"clone_pr_{pull_request}"].snapshot_id == cloned.metadata.current_snapshot_id
        remove(base, plan_clone_drop(base, pull_request))
        whole()

    def work(catalog: Catalog) -> None:
        chosen = [Chosen(Layer.MART, table.name()[1], "incremental") for table in tables]
        create_clone(Lake(current_environment(), catalog), pull_request, chosen)

    return Case(f"clone {number}", work, whole, check)


def write(store: Store, number: int) -> Case:
    writes: tuple[Callable[[Table], object], ...] = (
        lambda table: append_once(table, rows(7, 3), "run:7"),
        lambda table: merge(table, rows(7, 3), ["batch", "number"], "run:7"),
        lambda table: overwrite_partition(table, rows(7, 3), "batch = 7", "run:7"),
    )
    table = store.table(current_environment().schema_for(Layer.RAW), f"w_{number}", 1, 2)

    def whole() -> None:
        assert content(store.catalog.load_table(table.name())) in ([1, 2], [1, 2, 7, 7, 7])

    def check() -> None:
        assert content(store.catalog.load_table(table.name())) == [1, 2, 7, 7, 7]

    return Case(f"write {number}", lambda catalog: writes[number](catalog.load_table(table.name())), whole, check)


REQUESTS_OF_A_WRITE = 8
MOMENTS = [(maintenance, 0, 0.15), (maintenance, 1, 0.75), (clone, 0, 0.3), (clone, 1, 0.8), (write, 0, 0.15), (write, 1, 0.5), (write, 2, 0.8)]
"""What is disturbed, and the shares of its requests after which the store goes away."""


@pytest.fixture(scope="module")
def cases(store: Store, seconds: float) -> dict[str, Case]:
    """All disturbed at once: they wait most of the time."""
    lengths = {kind: undisturbed(store, kind(store, 9)) for kind in (maintenance, clone)}
    made = [(kind(store, number), max(1, round(share * lengths.get(kind, REQUESTS_OF_A_WRITE)))) for kind, number, share in MOMENTS]
    with ExitStack() as stack, ThreadPoolExecutor(len(made)) as threads:
        begun = []
        for case, requests in made:
            proxy = stack.enter_context(away(store.properties["s3.endpoint"]))
            proxy.go_away(seconds, after=requests)
            begun.append((case, proxy, threads.submit(case.work, store.by(proxy))))
        for case, proxy, future in begun:
            case.error, case.refused = future.exception(), proxy.refused
    return {case.name: case for case, _ in made}


def undisturbed(store: Store, case: Case) -> int:
    """How many requests it takes."""
    with away(store.properties["s3.endpoint"]) as proxy:
        case.work(store.by(proxy))
        assert proxy.refused == 0
        return proxy.passed


@pytest.mark.parametrize("name", [f"{kind.__name__} {number}" for kind, number, _ in MOMENTS])
def test_the_store_is_away_for_a_while(store: Store, cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    print(f"{case.name}: {case.refused} requests refused, {'outlived' if case.error is None else case.error}")
    assert case.refused > 0, "the store was never away"
    if case.error is not None:
        assert isinstance(case.error, TransientError), repr(case.error)
        assert "the store http://127.0.0.1:" in str(case.error)
        assert re.search("s3://(lake|ol-data-lake-branch)", str(case.error))
    case.whole()
    case.work(store.catalog)
    case.check()


def test_a_written_object_whose_answer_was_lost_is_there(store: Store) -> None:
    with away(store.properties["s3.endpoint"]) as proxy:
        here = S3Store(s3_client({**store.properties, "s3.endpoint": proxy.address}))
        proxy.lose_answers(1)
        here.create("s3://lake/warehouse/lost/a", b"data")
        assert here.read("s3://lake/warehouse/lost/a") == b"data"
        proxy.lose_answers(1)
        with pytest.raises(FileExistsError):
            here.create("s3://lake/warehouse/lost/a", b"others")


def test_a_store_that_stays_away_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.lake.objects.RETRIES", {"total_max_attempts": 2, "mode": "standard"})
    monkeypatch.setattr("include.lake.s3.RETRIES", {"total_max_attempts": 2, "mode": "standard"})
    table = store.table(current_environment().schema_for(Layer.RAW), "named", 1)
    with away(store.properties["s3.endpoint"]) as proxy:
        catalog = store.by(proxy)
        loaded, files = catalog.load_table(table.name()), store_of(catalog)
        proxy.go_away(600)
        for asked in (
            lambda: files.read(table.metadata_location),
            lambda: list(files.list(table.location())),
            lambda: files.create(f"{table.location()}/x", b""),
            lambda: files.move(table.metadata_location, f"{table.location()}/x"),
            lambda: files.delete([f"{table.location()}/x"]),
            lambda: quarantine_of(catalog),
            lambda: catalog.load_table(table.name()),
            lambda: loaded.scan().to_arrow(),
            lambda: append_once(loaded, rows(2), "run:2"),
        ):
            with pytest.raises(StoreError, match=rf"s3://lake.*the store {proxy.address}"):
                asked()


def test_the_job_names_the_store_and_says_that_another_try_may_help(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("include.lake.objects.RETRIES", {"total_max_attempts": 1})
    store.table(current_environment().schema_for(Layer.RAW), "of_the_job", 1)
    flags = ("--group", "raw", "--state", str(tmp_path / "state"), "--run-key", "night")
    prefix = f"PYICEBERG_CATALOG__{store.catalog.name.upper()}__"
    with away(store.properties["s3.endpoint"]) as proxy:
        found = {**store.properties, "s3.endpoint": proxy.address}
        with variables({prefix + name.upper().replace(".", "__").replace("-", "_"): value for name, value in found.items()}):
            proxy.go_away(600)
            code, result = job(tmp_path, "maintain-tables", *flags)
            assert (code, result) == (TRANSIENT_EXIT, {})
            assert f"transient failure: s3://lake/warehouse/ol_warehouse_qa_raw: the store {proxy.address}: " in capsys.readouterr().out
            proxy.go_away(0)
            code, result = job(tmp_path, "maintain-tables", *flags)
    assert (code, result["facts"]["totals"]["failed"]) == (0, 0)


def test_the_state_s_store_is_named_as_well(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with away(store.properties["s3.endpoint"]) as proxy, object_store_at(proxy.address, AWS_MAX_ATTEMPTS="1"):
        nights = State("s3://lake/state", "raw")
        url = nights.write(StateOfANight("raw", "night"))
        proxy.go_away(600)
        for asked in (lambda: nights.known(url), lambda: nights.write(StateOfANight("raw", "night")), lambda: nights.forget(LATER, keep="")):
            with pytest.raises(StoreError, match=r"s3://lake/state/raw.*the store of the state: "):
                asked()
        proxy.go_away(0)
        assert nights.known(url) == {}
