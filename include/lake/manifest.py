"""Reads dbt's manifest: what the warehouse consists of, without dbt.

The manifest is produced by ``dbt parse`` (``make setup``, or the image build); its schemas are those of the target it was parsed
for, so only names, layers and dependencies are taken from it and every table's place follows from the environment.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import orjson

from include.config.environments import EnvironmentSettings
from include.config.errors import ConfigError, Problem
from include.config.files import ROOT, validate
from include.config.maintenance import META, Changes
from include.config.parsed import read_store, store_for, without_collection, write_store
from include.config.vocabulary import Layer
from include.lake.names import TableRef, table_in

PROJECT = ROOT / "include" / "dbt" / "open_learning"
MANIFEST = PROJECT / "target" / "manifest.json"
DAG_TAG = "warehouse_"
"""How a model's tag begins that is the id of the DAG which builds it."""


@dataclass(frozen=True)
class Model:
    """One dbt model: where it belongs and what it reads.

    ``folder`` is its place below ``models/``, for example ``staging/mitxonline/app``: staging models of one connection share one.
    ``tests`` are the unique ids of the tests that judge it. ``dag`` is the DAG that a tag ``warehouse_…`` gives it to; empty for a model
    that has none, which ``warehouse`` builds, or if it is a staging model the DAG of its connection. ``maintenance`` is its
    ``meta.iceberg_maintenance`` as JSON; empty for a model that says nothing of it.
    """

    unique_id: str
    name: str
    layer: Layer
    area: str
    materialized: str
    upstream: tuple[str, ...]
    tests: tuple[str, ...]
    folder: str = ""
    dag: str = ""
    maintenance: str = ""

    @property
    def is_table(self) -> bool:
        """Whether it has files in the lake of its own."""
        return self.materialized in {"table", "incremental"}

    def maintenance_rules(self) -> Changes | None:
        """Its own rules of maintenance, if it has any. Raises ``ConfigError`` that names the model."""
        place = f"{self.name} (meta.{META})"
        return validate(Changes, orjson.loads(self.maintenance), place) if self.maintenance else None

    def table(self, environment: EnvironmentSettings) -> TableRef:
        """The model's table in an environment."""
        return table_in(environment, self.layer, self.name)


MODEL_FIELDS = tuple(field.name for field in fields(Model))


@dataclass(frozen=True)
class Warehouse:
    """The dbt project as Airflow and the jobs see it. ``sources`` maps a source's unique id to its raw table's name."""

    models: tuple[Model, ...]
    sources: dict[str, str]

    @cached_property
    def by_id(self) -> dict[str, Model]:
        """Models by unique id."""
        return {model.unique_id: model for model in self.models}

    def staging_of(self, prefix: str) -> tuple[Model, ...]:
        """The staging models whose names begin with a connection's prefix."""
        names, staging = self._staging
        return staging[bisect_left(names, prefix) : bisect_left(names, f"{prefix}\U0010ffff")]

    @cached_property
    def _staging(self) -> tuple[list[str], tuple[Model, ...]]:
        """The staging models' names and the models, in the order of names: each of a thousand connections asks for its own."""
        found = sorted((model for model in self.models if model.layer is Layer.STAGING), key=lambda model: model.name)
        return [model.name for model in found], tuple(found)

    def built_by_warehouse(self) -> tuple[Model, ...]:
        """The models that the ``warehouse`` DAG builds: all but those with a DAG of their own and staging, which each connection's own DAG builds."""
        return tuple(model for model in self.models if not model.dag and model.layer is not Layer.STAGING)

    @cached_property
    def own_dags(self) -> tuple[str, ...]:
        """The DAGs that models name by a tag, sorted."""
        return tuple(sorted({model.dag for model in self.models if model.dag}))

    def built_by(self, dag_id: str) -> tuple[Model, ...]:
        """The models of a DAG that models name by a tag, staging included; of any other those of ``warehouse``.

        Raises ``ConfigError`` for a DAG with the name of such a part that no model names: it would build what is another's.
        """
        if dag_id in self.own_dags:
            return tuple(model for model in self.models if model.dag == dag_id)
        if dag_id.startswith(DAG_TAG):
            allowed = f"a tag of models: {', '.join(self.own_dags) or 'there is none'}; make manifest, when the models are new"
            raise ConfigError((Problem(f"{dag_id}.yml", "the file's name", repr(dag_id), allowed),))
        return self.built_by_warehouse()


def load_warehouse(path: Path = MANIFEST) -> Warehouse:
    """The project as parsed into ``path``; read once per version of the file. Raises ``ConfigError`` when there is none."""
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        raise ConfigError((Problem(str(path), "the file", "nothing", "dbt's manifest", "make setup"),)) from None
    return _read(path, stamp)


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> Warehouse:
    """dbt writes 20 kB for a model, of which a few names are wanted here: those are kept beside it for the next reader."""
    with without_collection():
        store = store_for(path.parent, f"{path.stem}-warehouse.json")
        kept = read_store(store)
        if not isinstance(kept, dict) or kept.get("stamp") != stamp or kept.get("fields") != list(MODEL_FIELDS):
            kept = {"stamp": stamp, "fields": MODEL_FIELDS, **_extract(orjson.loads(path.read_bytes()))}
            write_store(store, kept)
        models = tuple(
            Model(unique_id, name, Layer(layer), area, materialized, tuple(upstream), tuple(tests), folder, dag, maintenance)
            for unique_id, name, layer, area, materialized, upstream, tests, folder, dag, maintenance in kept["models"]
        )
    return Warehouse(models, kept["sources"])


def _extract(data: dict[str, Any]) -> dict[str, Any]:
    nodes: dict[str, Any] = data["nodes"]
    judged_by = tests_by_model(data)
    models = [
        (
            unique_id,
            node["alias"],
            _layer(node).value,
            str(node["config"].get("meta", {}).get("area", "core")),
            node["config"]["materialized"],
            sorted(node["depends_on"]["nodes"]),
            sorted(judged_by.get(unique_id, ())),
            "/".join(node["fqn"][1:-1]),
            _dag(node),
            _maintenance(node),
        )
        for unique_id, node in sorted(nodes.items())
        if node["resource_type"] == "model"
    ]
    return {"models": models, "sources": {unique_id: source["identifier"] for unique_id, source in sorted(data["sources"].items())}}


def _layer(node: dict[str, Any]) -> Layer:
    found = node["config"].get("schema")
    try:
        return Layer(found)
    except ValueError:
        allowed = ", ".join(layer.value for layer in Layer)
        raise ConfigError((Problem(node["original_file_path"], "+schema", repr(found), allowed, "+schema: staging"),)) from None


def _dag(node: dict[str, Any]) -> str:
    found = sorted({tag for tag in node["config"].get("tags", ()) if tag.startswith(DAG_TAG)})
    if len(found) > 1:
        raise ConfigError((Problem(node["original_file_path"], "+tags", ", ".join(found), "one DAG to build it"),))
    return found[0] if found else ""


def _maintenance(node: dict[str, Any]) -> str:
    found = node["config"].get("meta", {}).get(META)
    return "" if found is None else orjson.dumps(found).decode()


def tests_by_model(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """The tests that judge each model: those attached to it, its unit tests, and singular tests on the last model they read.

    A singular test reads several models and belongs to one, so that its failure is shown once: the one that depends on most others.
    """
    nodes = manifest["nodes"]
    depth: dict[str, int] = {}

    def depth_of(unique_id: str) -> int:
        if unique_id not in depth:
            node = nodes.get(unique_id)
            parents = node["depends_on"]["nodes"] if node else []
            depth[unique_id] = 1 + max((depth_of(parent) for parent in parents), default=0)
        return depth[unique_id]

    found: dict[str, list[str]] = {}
    for unique_id, node in nodes.items():
        if node["resource_type"] == "test":
            parents = [parent for parent in node["depends_on"]["nodes"] if parent.startswith("model.")]
            owner = node.get("attached_node") or max(parents, key=lambda parent: (depth_of(parent), parent), default=None)
            if owner:
                found.setdefault(owner, []).append(unique_id)
    for unique_id, test in manifest.get("unit_tests", {}).items():
        for owner in test["depends_on"]["nodes"][:1]:
            found.setdefault(owner, []).append(unique_id)
    return found
