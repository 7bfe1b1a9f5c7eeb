"""Create and drop with pyiceberg alone: what is promised about each, and what happens when something comes in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.exceptions import NoSuchTableError

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.vocabulary import Environment, Layer
from include.lake.clones import create as create_module
from include.lake.clones.create import BUILT_ANEW, Cloned, Done, create_clone, make_schemas
from include.lake.clones.documents import GUARD, clone_document
from include.lake.clones.drop import plan_clone_drop, plan_schema_drop, remove
from include.lake.clones.names import CLONE_OF, CLONE_PR, CLONE_SNAPSHOT, CLONED_AT, CloneError, Lake
from include.lake.clones.registry import clones_of
from include.lake.clones.selection import Chosen
from include.lake.metadata import pointer, publish, read_document, register, unregister

from .tables import PR, base_of, clone_name, clone_of, content, everything_below, new_table, rows_of, seen, tags_of

OWN_PLACE = f"_pr_{PR}/"


def drop(lake: Lake, pull_request: int = PR) -> None:
    remove(lake, plan_clone_drop(lake, pull_request))


def document_of(lake: Lake, name: tuple[str, str]):
    return read_document(lake.store, pointer(lake.catalog, *name).location)


def test_a_clone_has_its_own_place_and_id_and_the_bases_rows(own: Lake) -> None:
    elsewhere = {"write.data.path": "local:///warehouse/elsewhere/data", "write.metadata.path": "local:///warehouse/elsewhere/metadata", "kept": "yes"}
    base = new_table(own, "orders", properties=elsewhere)
    files = everything_below(own, "")
    create_clone(own, PR)
    clone = clone_of(own, "orders")
    document = document_of(own, clone_name(own, "orders"))
    assert clone.metadata.table_uuid != base.metadata.table_uuid
    assert clone.location().startswith(f"local:///warehouse/{clone_name(own, 'orders')[0]}/orders-")
    assert content(clone) == content(base)
    assert document.properties["gc.enabled"] == "false"
    assert document.properties["kept"] == "yes"
    assert not set(elsewhere) & set(document.properties) - {"kept"}
    assert {key: document.properties[key] for key in (CLONE_OF, CLONE_PR, CLONE_SNAPSHOT)} == {
        CLONE_OF: "ol_warehouse_local_mart.orders",
        CLONE_PR: str(PR),
        CLONE_SNAPSHOT: str(base.metadata.current_snapshot_id),
    }
    assert abs(datetime.fromisoformat(document.properties[CLONED_AT]) - datetime.now(UTC)) < timedelta(minutes=5)
    assert document.data["metadata-log"] == []
    read = [snapshot["snapshot-id"] for snapshot in document.snapshots if snapshot["snapshot-id"] != document.refs[GUARD]["snapshot-id"]]
    assert read == [base.metadata.current_snapshot_id]
    new = set(everything_below(own, "")) - set(files)
    assert {location.rpartition(".")[2] for location in new} == {"json"}  # the clone's metadata file and, for the tag, the base's: no data
    assert sum(OWN_PLACE in location for location in new) == 1


def test_what_is_written_to_a_clone_lies_in_its_own_folder(own: Lake) -> None:
    base = new_table(own, "orders", properties={"write.data.path": "local:///warehouse/elsewhere/data"})
    create_clone(own, PR)
    before, there = seen(own, base), set(everything_below(own, ""))
    clone = clone_of(own, "orders")
    clone.append(rows_of(100, 3, "clone"))
    clone.delete("id = 1")
    new = set(everything_below(own, "")) - there
    assert new
    assert [location for location in new if not location.startswith(f"{clone.location()}/")] == []
    assert seen(own, base) == before


def test_create_again_changes_nothing_and_says_so(own: Lake) -> None:
    new_table(own, "orders")
    (first,) = create_clone(own, PR)
    clone_of(own, "orders").append(rows_of(100, 1, "clone"))
    files, pinned = everything_below(own, ""), tags_of(own, base_of(own, "orders"))
    new_table(own, "users", layer=Layer.DIMENSIONAL)
    again = create_clone(own, PR)
    assert [(cloned.name, cloned.done) for cloned in again] == [("dimensional.users", Done.CLONED), ("mart.orders", Done.EXISTS)]
    assert again[1].snapshot_id == first.snapshot_id
    assert set(files) <= set(everything_below(own, ""))
    assert tags_of(own, base_of(own, "orders")) == pinned
    assert content(clone_of(own, "orders"))[-1] == (100, "clone")


def test_the_base_keeps_a_pinned_snapshot_and_forgets_it_after_the_drop(own: Lake) -> None:
    base = new_table(own, "orders")
    create_clone(own, PR)
    pinned = base.metadata.current_snapshot_id
    base.refresh()
    base.append(rows_of(50, 1))
    base.maintenance.expire_snapshots().older_than(datetime.now() + timedelta(days=1)).commit()
    base.refresh()
    assert {snapshot.snapshot_id for snapshot in base.metadata.snapshots} == {pinned, base.metadata.current_snapshot_id}
    drop(own)
    base.refresh()
    base.maintenance.expire_snapshots().older_than(datetime.now() + timedelta(days=1)).commit()
    assert len(base_of(own, "orders").metadata.snapshots) == 1


def test_a_lost_tag_is_set_again(own: Lake) -> None:
    base = new_table(own, "orders")
    (first,) = create_clone(own, PR)
    base.refresh()
    base.manage_snapshots().remove_tag(f"clone_pr_{PR}").commit()
    base.append(rows_of(50, 1))
    (again,) = create_clone(own, PR)
    assert (again.done, again.snapshot_id) == (Done.EXISTS, first.snapshot_id)
    assert tags_of(own, base) == {f"clone_pr_{PR}": first.snapshot_id}


def test_a_table_without_rows_needs_no_tag(own: Lake) -> None:
    base = new_table(own, "empty", commits=0)
    (cloned,) = create_clone(own, PR)
    assert (cloned.done, cloned.snapshot_id) == (Done.CLONED, None)
    assert tags_of(own, base) == {}
    clone_of(own, "empty").append(rows_of(1, 2))
    assert (len(content(clone_of(own, "empty"))), content(base_of(own, "empty"))) == (2, ())
    drop(own)


def test_drop_leaves_nothing_and_two_clones_do_not_know_each_other(own: Lake) -> None:
    base = new_table(own, "orders")
    create_clone(own, PR)
    create_clone(own, 77)
    clone_of(own, "orders").append(rows_of(100, 1, "clone"))
    before = seen(own, base)
    drop(own)
    assert everything_below(own, OWN_PLACE) == []
    assert not (own.store.root / "warehouse" / clone_name(own, "orders")[0]).exists()
    assert [namespace for (namespace,) in own.catalog.list_namespaces() if namespace.endswith(f"_pr_{PR}")] == []
    assert seen(own, base) == before
    assert tags_of(own, base) == {"clone_pr_77": before.snapshot_id}
    assert content(clone_of(own, "orders", pull_request=77)) == before.rows
    assert plan_clone_drop(own, PR).nothing
    drop(own)


def test_dry_run_is_the_plan_and_removes_nothing(own: Lake) -> None:
    new_table(own, "orders")
    create_clone(own, PR)
    files = everything_below(own, "")
    plan = plan_clone_drop(own, PR)
    assert [table.name for table in plan.tables] == [".".join(clone_name(own, "orders"))]
    assert [table.name for table in plan.tags] == ["ol_warehouse_local_mart.orders"]
    assert plan.bytes == sum(file.size for file in plan.files) > 0
    assert everything_below(own, "") == files


def place_table(lake: Lake, name: tuple[str, str], location: str) -> None:
    """Registers a copy of the base's metadata under a location of somebody's choice."""
    found = document_of(lake, (lake.base_schemas[Layer.MART], "orders"))
    made = clone_document(found, found.current_snapshot_id, location=location, of="somebody.else", pull_request=1)
    metadata = f"{location}/metadata/00000-hand-made.metadata.json"
    from include.lake.metadata import serialised

    lake.store.create(metadata, serialised(made, metadata))
    register(lake.catalog, *name, metadata)


@pytest.mark.parametrize("inside", [True, False], ids=["child", "parent"])
def test_drop_is_refused_when_a_table_of_others_lies_in_or_around_the_folder(own: Lake, inside: bool) -> None:
    new_table(own, "orders")
    create_clone(own, PR)
    folder = f"local:///warehouse/{clone_name(own, 'orders')[0]}"
    own.catalog.create_namespace("others")
    place_table(own, ("others", "theirs"), f"{folder}/somewhere/theirs" if inside else folder.rpartition("/")[0])
    files = everything_below(own, "")
    with pytest.raises(CloneError, match=r"others\.theirs lies at"):
        plan_clone_drop(own, PR)
    assert everything_below(own, "") == files
    unregister(own.catalog, "others", "theirs")
    drop(own)


def test_drop_is_refused_for_a_table_of_the_clone_that_shares_the_bases_folder(own: Lake) -> None:
    """``register_table`` with the base's own metadata file, which is what an impatient person does."""
    base = new_table(own, "orders")
    make_schemas(own, f"pr_{PR}", {})
    register(own.catalog, *clone_name(own, "orders"), pointer(own.catalog, *base.name()).location)
    before = seen(own, base)
    with pytest.raises(CloneError, match=rf"{clone_name(own, 'orders')[0]}.orders lies at {base.location()}; allowed: a folder below"):
        plan_clone_drop(own, PR)
    assert seen(own, base) == before


def test_drop_is_refused_for_a_table_that_was_renamed_into_another_schema(own: Lake) -> None:
    new_table(own, "orders")
    create_clone(own, PR)
    own.catalog.create_namespace("others")
    own.catalog.rename_table(clone_name(own, "orders"), ("others", "kept"))
    with pytest.raises(CloneError, match=r"others\.kept lies at"):
        plan_clone_drop(own, PR)
    assert content(own.catalog.load_table(("others", "kept")))


def test_drop_is_refused_for_a_schema_that_lies_where_others_do(own: Lake) -> None:
    base = new_table(own, "orders")
    schema = clone_name(own, "orders")[0]
    own.catalog.create_namespace(schema, {"location": "local:///warehouse/ol_warehouse_local_mart"})
    with pytest.raises(CloneError, match="allowed: a folder of its own name") as refused:
        plan_clone_drop(own, PR)
    assert "ol_warehouse_local_mart.orders lies at" in str(refused.value)
    assert content(base)


def test_models_that_are_chosen(own: Lake) -> None:
    for name in ("facts", "report"):
        new_table(own, name)
    chosen = [
        Chosen(Layer.MART, "facts", "incremental"),
        Chosen(Layer.MART, "report", "table"),
        Chosen(Layer.MART, "absent", "incremental"),
        Chosen(Layer.STAGING, "seen", "view"),
        Chosen(Layer.STAGING, "part", "ephemeral"),
    ]
    done = {cloned.name: cloned for cloned in create_clone(own, PR, chosen)}
    assert done["mart.facts"].done is Done.CLONED
    assert done["mart.report"] == Cloned("mart.report", Done.SKIPPED, BUILT_ANEW)
    assert done["mart.absent"] == Cloned("mart.absent", Done.SKIPPED, "not in ol_warehouse_local_mart")
    assert done["staging.seen"].reason.startswith("a view")
    assert done["staging.part"].reason.startswith("ephemeral")
    everything = create_clone(own, PR, chosen, all_materializations=True)
    assert {cloned.name for cloned in everything if cloned.done is Done.CLONED} == {"mart.report"}


def test_what_the_pull_request_built_itself_stays(own: Lake) -> None:
    new_table(own, "orders")
    schemas = make_schemas(own, f"pr_{PR}", {})
    from include.lake.catalog import ensure_table
    from include.lake.names import TableRef

    from .tables import ROWS

    ensure_table(own.catalog, TableRef(own.environment.lake.catalog, schemas[Layer.MART], "orders"), ROWS).append(rows_of(1, 1, "built"))
    (found,) = create_clone(own, PR)
    assert (found.done, found.reason) == (Done.EXISTS, "the pull request built it")
    assert content(clone_of(own, "orders")) == ((1, "built"),)
    drop(own)
    assert everything_below(own, OWN_PLACE) == []


def test_a_commit_that_comes_in_between_is_met(own: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base moves twice while the tag is to be set; the clone then shows what the tag keeps."""
    base = new_table(own, "orders")
    moves = iter(range(2))

    def moved(*arguments):
        if next(moves, None) is not None:
            base.refresh()
            base.append(rows_of(100, 1))
        return publish(*arguments)

    monkeypatch.setattr(create_module, "publish", moved)
    (cloned,) = create_clone(own, PR)
    base.refresh()
    assert cloned.snapshot_id == base.metadata.current_snapshot_id == tags_of(own, base)[f"clone_pr_{PR}"]
    assert content(clone_of(own, "orders")) == content(base)


def test_a_base_that_never_holds_still_is_given_up_with_its_name(own: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    base = new_table(own, "orders")

    def moved(*arguments):
        base.refresh()
        base.append(rows_of(100, 1))
        return publish(*arguments)

    monkeypatch.setattr(create_module, "publish", moved)
    with pytest.raises(CloneError, match=r"ol_warehouse_local_mart.orders: others committed 10 times"):
        create_clone(own, PR)
    monkeypatch.undo()
    drop(own)
    assert tags_of(own, base) == {}


def test_an_unreadable_base_is_named(own: Lake) -> None:
    new_table(own, "orders")
    own.store.delete([pointer(own.catalog, "ol_warehouse_local_mart", "orders").location])
    with pytest.raises(CloneError, match=r"ol_warehouse_local_mart\.orders: its metadata file"):
        create_clone(own, PR)
    drop(own)
    assert plan_clone_drop(own, PR).nothing


def test_a_clone_of_a_snapshot_that_is_not_there_is_refused(own: Lake) -> None:
    new_table(own, "orders")
    found = document_of(own, ("ol_warehouse_local_mart", "orders"))
    with pytest.raises(ValueError, match="found no snapshot 5; allowed: one of"):
        clone_document(found, 5, location="local:///x", of="a.b", pull_request=1)


def test_the_list(own: Lake) -> None:
    assert clones_of(own) == []
    new_table(own, "orders")
    begin = datetime.now(UTC) - timedelta(seconds=2)
    create_clone(own, PR)
    create_clone(own, 9)
    clone_of(own, "orders").append(rows_of(100, 1, "clone"))
    nine, ours = clones_of(own)
    assert (nine.pull_request, ours.pull_request) == (9, PR)
    assert (ours.tables, ours.pinned, nine.pinned) == (1, 1, 1)
    assert ours.bytes == sum(file.size for file in own.store.list("local:///warehouse") if OWN_PLACE in file.location) > nine.bytes
    assert begin <= ours.created <= ours.written <= datetime.now(UTC)


def test_a_developers_schemas(own: Lake) -> None:
    from include.lake.catalog import ensure_table
    from include.lake.names import TableRef

    from .tables import ROWS

    base = new_table(own, "orders")
    mine = make_schemas(own, "pr_5", {})
    theirs = make_schemas(own, "pr_55", {})
    assert Layer.RAW not in mine
    for schemas in (mine, theirs):
        ensure_table(own.catalog, TableRef(own.environment.lake.catalog, schemas[Layer.MART], "t"), ROWS).append(rows_of(1, 1))
    before = seen(own, base)
    remove(own, plan_schema_drop(own, "pr_5"))
    assert everything_below(own, "_pr_5/") == []
    assert seen(own, base) == before
    assert len(content(own.catalog.load_table((theirs[Layer.MART], "t")))) == 1
    with pytest.raises(NoSuchTableError):
        own.catalog.load_table((mine[Layer.MART], "t"))


def test_production_has_no_clones_and_a_branch_only_its_own(own: Lake) -> None:
    production = current_environment().model_copy(update={"name": Environment.PRODUCTION})
    with pytest.raises(ConfigError, match="nobody works in production"):
        Lake.of(production)
    branch = replace(own, environment=own.environment.model_copy(update={"schema_suffix": "pr_7"}))
    with pytest.raises(ConfigError, match=f"pr_{PR}, or nothing"):
        create_clone(branch, PR)
    with pytest.raises(ConfigError, match=f"pr_{PR}, or nothing"):
        plan_clone_drop(branch, PR)
