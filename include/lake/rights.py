"""What this process may change in the lake: its own environment's schemas and files, and nobody else's.

Every write asks here, whoever makes it: catalogs (:func:`guard`), files (:mod:`include.lake.storage`, :mod:`include.lake.objects`) and
statements for Trino. Access rights of the store and of Trino say the same once more; a wrong variable must not need them. dbt has
the same rule in ``macros/schemas.sql``.

Names decide, and those of all environments are in ``environments.yml``. A catalog, a schema prefix or a bucket of one environment is closed
to all others, with two exceptions: what an environment's pull requests own it may remove (it sweeps forgotten ones), and a pull
request may write metadata beside its base's tables, which is how a tag is set. Names that no environment has (a test's) are free on a laptop alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from pyiceberg.catalog import Catalog

from include.config.environments import EnvironmentSettings, Territory, current_environment, territories
from include.config.vocabulary import Environment, Layer

PULL_REQUEST = re.compile(r"pr_[1-9][0-9]*\Z")
_METADATA_FILE = re.compile(r".*/metadata/[^/]+\.metadata\.json\Z")


class ForbiddenError(PermissionError):
    """A write outside of what this environment owns. Nothing was changed."""


@dataclass(frozen=True)
class Rights:
    """The rights of one environment, with the suffix of its schemas where it has one."""

    name: Environment
    suffix: str = ""

    @classmethod
    def of(cls, environment: EnvironmentSettings) -> Rights:
        """Those of an environment's settings."""
        return cls(environment.name, environment.schema_suffix)

    def check_schema(self, schema: str, action: str = "write") -> None:
        """Raises :class:`ForbiddenError` unless the schema is this environment's own."""
        owner = _owner_of_schema(schema)
        if owner is None:
            if self.name is not Environment.LOCAL:
                self._refuse(action, f"schema {schema}", f"schemas that begin with {self._mine.schema_prefix}_")
        elif owner.schema_prefix != self._mine.schema_prefix:
            self._refuse(action, f"schema {schema}, which is {owner.environment.value}'s", f"schemas that begin with {self._mine.schema_prefix}_")
        elif not self._own_suffix(schema):
            self._refuse(action, f"schema {schema}", self._own_schemas)

    def check_catalog(self, catalog: str, action: str = "write") -> None:
        """Raises :class:`ForbiddenError` for a catalog that is another environment's."""
        if catalog != self._mine.catalog and any(territory.catalog == catalog for territory in territories()):
            self._refuse(action, f"catalog {catalog}", f"catalog {self._mine.catalog}")

    def check_tag(self, schema: str, tag: str) -> None:
        """Raises :class:`ForbiddenError` unless ``tag`` may be set on, or taken from, tables of a schema: an own one, or a pull request's tag on its base."""
        owner = _owner_of_schema(schema)
        shares = owner is not None and owner.schema_prefix == self._mine.schema_prefix
        if self.suffix and shares and schema == f"{self._mine.schema_prefix}_{_layer_of(schema)}" and tag == f"clone_{self.suffix}":
            return
        self.check_schema(schema, f"set tag {tag} in")

    def check_location(self, location: str, action: str = "write") -> None:
        """Raises :class:`ForbiddenError` for a file in a place that is another environment's."""
        roots = [(territory.environment, root) for territory in territories() for root in territory.roots]
        owners = {name for name, root in roots if location.startswith(root)} or {name for name, root in roots if location.startswith(_bucket(root))}
        if not owners or self.name in owners or owners & {t.environment for t in territories() if t.based_on is self.name}:
            return
        if self._mine.based_on in owners and action == "write" and _METADATA_FILE.match(location):
            return
        self._refuse(action, location, ", ".join(self._mine.roots))

    @property
    def _mine(self) -> Territory:
        return next(territory for territory in territories() if territory.environment is self.name)

    @property
    def _own_schemas(self) -> str:
        return f"schemas that end with _{self.suffix}" if self.suffix else "its own layers, and those of its pull requests (…_pr_1523)"

    def _own_suffix(self, schema: str) -> bool:
        rest = schema.removeprefix(f"{self._mine.schema_prefix}_")
        layer = _layer_of(schema)
        if layer is None:
            return self.name is Environment.LOCAL and not self.suffix
        suffix = rest.removeprefix(layer.value).removeprefix("_")
        if self.suffix:
            return suffix == self.suffix or (self.name is Environment.LOCAL and layer is Layer.RAW and not suffix)
        return not suffix or (self.name is not Environment.PRODUCTION and PULL_REQUEST.match(suffix) is not None)

    def _refuse(self, action: str, found: str, allowed: str) -> None:
        suffix = f" with suffix {self.suffix}" if self.suffix else ""
        raise ForbiddenError(f"{self.name.value}{suffix} may not {action} {found}; allowed: {allowed}")


@cache
def current_rights() -> Rights:
    """Those of this process."""
    return Rights.of(current_environment())


def guard(catalog: Catalog) -> Catalog:
    """Makes a catalog ask for this process's rights at every write. Returns the same catalog."""
    for name in _WRITES:
        setattr(catalog, name, _asking(catalog, name, getattr(catalog, name)))
    return catalog


_WRITES = {
    "commit_table": "commit to",
    "create_table": "create a table in",
    "register_table": "register a table in",
    "drop_table": "drop a table of",
    "purge_table": "drop a table of",
    "rename_table": "rename a table of",
    "create_namespace": "create",
    "drop_namespace": "drop",
    "update_namespace_properties": "change",
}


def _asking(catalog: Catalog, name: str, write: Callable[..., Any]) -> Callable[..., Any]:
    def asked(target: Any, *arguments: Any, **named: Any) -> Any:
        rights = current_rights()
        rights.check_catalog(catalog.name, _WRITES[name])
        identifiers = [target, *(arguments[:1] or [named["to_identifier"]])] if name == "rename_table" else [target]
        for identifier in identifiers:
            rights.check_schema(_schema_of(identifier, is_namespace="namespace" in name), _WRITES[name])
        return write(target, *arguments, **named)

    return asked


def _schema_of(target: Any, *, is_namespace: bool) -> str:
    parts = target.name() if hasattr(target, "name") else Catalog.identifier_to_tuple(target)
    return ".".join(parts) if is_namespace else ".".join(parts[:-1])


def _owner_of_schema(schema: str) -> Territory | None:
    """Whose schema it is by its prefix, the longest that fits; of several with the same prefix (a base and its branches) the base."""
    fitting = [territory for territory in territories() if schema == territory.schema_prefix or schema.startswith(f"{territory.schema_prefix}_")]
    return max(fitting, key=lambda territory: (len(territory.schema_prefix), territory.based_on is None), default=None)


def _layer_of(schema: str) -> Layer | None:
    owner = _owner_of_schema(schema)
    rest = schema.removeprefix(f"{owner.schema_prefix}_") if owner else ""
    return next((layer for layer in Layer if rest == layer.value or rest.startswith(f"{layer.value}_")), None)


def _bucket(root: str) -> str:
    """Everything in a bucket is its owner's, whatever the folder; on a disk there are only folders."""
    scheme, _, path = root.partition("://")
    return root if scheme == "local" else f"{scheme}://{path.partition('/')[0]}/"
