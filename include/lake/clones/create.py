"""Makes a pull request's tables from its base's, without copying data.

Per table, in this order, so that a kill leaves nothing that a second run does not mend and nothing that readers could lose files by:

1. the base's snapshot gets the tag ``clone_pr_<number>``; a snapshot that has it already is the one that is cloned, so tables that are added
   to a clone later, or after a kill, are of the same time where they were pinned together
2. the clone's metadata file is written into a folder of its own below the pull request's schema
3. the catalog gets the table

The schemas come first of all: they say that there is a clone, and a drop removes them last.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError

from include.config.vocabulary import Layer
from include.lake.catalog import create_schema, location_of, schemas_of
from include.lake.clones.documents import clone_document, tag
from include.lake.clones.names import CLONE_PR, CLONE_SNAPSHOT, CREATED_AT, CloneError, Lake, check_pull_request, each, suffix_of, tag_of, views_of
from include.lake.clones.selection import Chosen
from include.lake.metadata import Document, Pointer, PointerMovedError, pointer, pointers, publish, read_document, register, serialised
from include.lake.rights import current_rights

ATTEMPTS = 10
A_VIEW = "a view: it holds no data that could be cloned"
BUILT_ANEW = "full refresh: the build makes it anew (--all-materializations clones it)"


class Done(StrEnum):
    """What became of a table."""

    CLONED = "cloned"
    EXISTS = "exists"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Cloned:
    """One table, by ``layer.table``: what was done, why not, and the base's snapshot that it shows."""

    name: str
    done: Done
    reason: str = ""
    snapshot_id: int | None = None


@dataclass(frozen=True)
class _Order:
    """One table to be cloned, and where to."""

    name: str
    source: Pointer
    schema: str
    folder: str
    existing: Pointer | None


def create_clone(lake: Lake, pull_request: int, chosen: Iterable[Chosen] | None = None, *, all_materializations: bool = False) -> list[Cloned]:
    """Clones all tables of the base, or those of the ``chosen`` models that are worth it; sorted by name.

    Raises ``ConfigError`` for a pull request that is not this process's, ``ForbiddenError`` without the rights, and :class:`CloneError`
    when a base's table cannot be read or does not hold still.
    """
    check_pull_request(lake, pull_request)
    targets = make_schemas(lake, suffix_of(pull_request), {CLONE_PR: str(pull_request)})
    sources = {layer: {found.table: found for found in pointers(lake.catalog, schema)} for layer, schema in lake.base_schemas.items()}
    existing = {layer: {found.table: found for found in pointers(lake.catalog, targets[layer])} for layer in targets}
    wanted: list[tuple[Layer, str]] = []
    skipped: list[Cloned] = []
    if chosen is None:
        wanted = [(layer, table) for layer, found in sources.items() for table in found]
        views = ((layer, view) for layer, base in lake.base_schemas.items() for view in views_of(lake.catalog, base))
        skipped = [_skipped(layer, view, A_VIEW) for layer, view in views]
    for model in chosen or ():
        reason = _reason_to_skip(model, model.table in sources.get(model.layer, {}), lake.base_schemas.get(model.layer, ""), all_materializations)
        if reason:
            skipped.append(_skipped(model.layer, model.table, reason))
        else:
            wanted.append((model.layer, model.table))
    folders = {layer: location_of(lake.catalog, targets[layer]) for layer in {layer for layer, _ in wanted}}
    orders = [
        _Order(f"{layer.value}.{table}", sources[layer][table], targets[layer], folders[layer], existing[layer].get(table)) for layer, table in sorted(wanted)
    ]
    return sorted([*each(lambda order: _clone(lake, pull_request, order), orders), *skipped], key=lambda cloned: cloned.name)


def make_schemas(lake: Lake, suffix: str, properties: dict[str, str]) -> dict[Layer, str]:
    """The schemas of all layers but raw with a suffix, each with a folder of its own below the warehouse; those that exist stay as they are."""
    targets = lake.schemas_with(suffix)
    there = schemas_of(lake.catalog)
    warehouse = lake.warehouse_for(suffix)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for schema in targets.values():
        current_rights().check_schema(schema, "create")
        if schema not in there:
            create_schema(lake.catalog, schema, {"location": f"{warehouse}/{schema}", CREATED_AT: now, **properties})
    return targets


def _reason_to_skip(model: Chosen, built: bool, schema: str, all_materializations: bool) -> str:
    if model.materialized == "view":
        return A_VIEW
    if model.materialized not in ("table", "incremental"):
        return f"{model.materialized}: it is no table"
    if not built:
        return f"not in {schema}" if schema else f"layer {model.layer.value} is read where connections load it"
    if model.materialized == "table" and not all_materializations:
        return BUILT_ANEW
    return ""


def _skipped(layer: Layer, table: str, reason: str) -> Cloned:
    return Cloned(f"{layer.value}.{table}", Done.SKIPPED, reason)


def _clone(lake: Lake, pull_request: int, order: _Order) -> Cloned:
    if order.existing is not None:
        return _existing(lake, pull_request, order, order.existing)
    document, snapshot_id = _pinned(lake, order.source, tag_of(pull_request))
    location = f"{order.folder}/{order.source.table}-{secrets.token_hex(16)}"
    made = clone_document(document, snapshot_id, location=location, of=order.source.name, pull_request=pull_request)
    metadata = f"{location}/metadata/00000-{uuid.uuid4()}.metadata.json"
    lake.store.create(metadata, serialised(made, metadata))
    try:
        register(lake.catalog, order.schema, order.source.table, metadata, like=order.source)
    except TableAlreadyExistsError:  # somebody else was faster, or a view has the name
        lake.store.delete([metadata])
        return Cloned(order.name, Done.EXISTS, "made meanwhile")
    return Cloned(order.name, Done.CLONED, snapshot_id=snapshot_id)


def _pinned(lake: Lake, source: Pointer, name: str, snapshot_id: int | None = None) -> tuple[Document, int | None]:
    """The base's metadata and the snapshot that the tag keeps from now on: the tagged one, else ``snapshot_id``, else main's. No tag without rows."""
    current_rights().check_tag(source.schema, name)
    for _ in range(ATTEMPTS):
        try:
            document = read_document(lake.store, source.location)
        except FileNotFoundError:  # a commit came in between, and its writer keeps few old metadata files
            moved = pointer(lake.catalog, source.schema, source.table)
            if moved.location == source.location:
                raise CloneError(f"{source.name}: its metadata file {source.location} is not there") from None
            source = moved
            continue
        tagged = document.refs.get(name)
        if tagged is not None and snapshot_id in (None, tagged["snapshot-id"]):
            return document, int(tagged["snapshot-id"])
        head = document.current_snapshot_id if snapshot_id is None else snapshot_id
        if head is None:
            return document, None
        kept = document.changed(refs={**document.refs, name: tag(head)})
        try:
            publish(lake.catalog, lake.store, source, document, kept)
        except PointerMovedError:
            source = pointer(lake.catalog, source.schema, source.table)
            continue
        return document, head
    raise CloneError(f"{source.name}: others committed {ATTEMPTS} times while tag {name} was to be set; run the command again")


def _existing(lake: Lake, pull_request: int, order: _Order, existing: Pointer) -> Cloned:
    """A table that is there stays. Should its tag have got lost, it is set again as long as the base has the snapshot."""
    document = read_document(lake.store, existing.location)
    pinned = document.properties.get(CLONE_SNAPSHOT, "")
    if CLONE_PR not in document.properties:
        return Cloned(order.name, Done.EXISTS, "the pull request built it")
    if not pinned:
        return Cloned(order.name, Done.EXISTS, "cloned before")
    snapshot_id = int(pinned)
    with suppress(NoSuchTableError):
        base = read_document(lake.store, pointer(lake.catalog, order.source.schema, order.source.table).location)
        if base.refs.get(tag_of(pull_request), {}).get("snapshot-id") != snapshot_id and base.snapshot(snapshot_id) is not None:
            _pinned(lake, order.source, tag_of(pull_request), snapshot_id)
            return Cloned(order.name, Done.EXISTS, "cloned before; its tag was missing and is set again", snapshot_id)
    return Cloned(order.name, Done.EXISTS, "cloned before", snapshot_id)
