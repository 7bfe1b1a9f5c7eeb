"""Which environment this is and where its lake lies: the only module that reads or sets environment variables.

The variables:

``OL_ENVIRONMENT``         local (when absent), branch, qa or production; anything else raises
``OL_CLUSTER``             the cluster's own marker; production needs ``production`` here as well, so one wrong variable is not enough
``OL_SCHEMA_SUFFIX``       a developer's or a pull request's suffix for all schemas; required in branch, refused in production
``OL_IMAGE_TAG``           the commit's tag of the platform's own images; required where jobs are pods, since no tag would mean ``latest``
``OL_IMAGE_DIGESTS``       what the tag meant when it was deployed: ``dbt=sha256:…,jobs=sha256:…``; required in production. Both are those of the
                           release where the code is one that a run keeps: ``release.json`` beside ``include`` holds them then
``OL_RUNTIME``             local only: ``pod`` runs jobs in a cluster instead of as processes, for a laptop with one and for the tests of pods
``OL_GRANULARITY``         overrides the number of tasks of the warehouse DAG (model, area)
``OL_WORK_ROOT``           overrides where runs keep their progress and artifacts (a folder or an ``s3://`` prefix)
``TRINO_CATALOG``          local only: the lake's catalog in a Trino that is somebody else's
``TRINO_HOST`` …           see :class:`LakeConnection`
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from include.config.confidential import confidential
from include.config.errors import ConfigError, Problem
from include.config.files import ROOT, UNITS, read_yaml, validate
from include.config.vocabulary import Environment, Granularity, Layer, Runtime, WarehouseAfter

RELEASED = frozenset({"OL_IMAGE_TAG", "OL_IMAGE_DIGESTS"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LakeSettings(_Model):
    """One environment's lake: its catalog, the prefix of its schemas, and the stable host that asset names carry."""

    catalog: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    schema_prefix: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    asset_host: str
    asset_port: int
    kind: Literal["jdbc", "glue"]
    warehouse: Annotated[str, Field(pattern=r"^(s3|local)://")]


class Images(_Model):
    """Image repositories; the version comes from the deployment: ``OL_IMAGE_TAG`` and ``OL_IMAGE_DIGESTS``."""

    jobs: str
    dbt: str
    openedx: str


class Secrets(_Model):
    """Where a cluster's Airflow finds connections and variables: ``plugins/platform_secrets.py``. Pods of jobs name Kubernetes secrets.

    ``root`` is what all paths (AWS) or namespaces (Kubernetes) begin with; a code location has a part of its own below it. A value is
    believed for ``cache_seconds``.
    """

    source: Literal["aws", "kubernetes"]
    root: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9/-]*[a-z0-9]$")]
    region: str | None = None
    cache_seconds: Annotated[int, Field(ge=0, le=900)] = 300

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if (self.source == "aws") != (self.region is not None):
            raise ValueError("region: AWS has regions, for example: region: us-east-1; Kubernetes has none")
        if self.source == "kubernetes" and "/" in self.root:
            raise ValueError("root: namespaces begin with it; a slash cannot be in their names, for example: root: ol-secrets")
        return self


class Alerts(_Model):
    """Where failures are told. ``None`` is silence, allowed only where nobody is on duty."""

    slack_channel: str | None


class EnvironmentSettings(_Model):
    """Everything the platform needs to know about one environment."""

    name: Environment
    runtime: Runtime
    granularity: Granularity
    warehouse_after: WarehouseAfter
    schedules: bool
    lake: LakeSettings
    airbyte_connection: str
    work_root: str
    based_on: Environment | None = None
    images: Images
    secrets: Secrets
    alerts: Alerts
    pools: dict[str, Annotated[int, Field(gt=0)]]
    schema_suffix: str = ""
    image_tag: str = ""
    image_digests: dict[str, str] = {}

    def base_schema_for(self, layer: Layer) -> str:
        """The schema of one layer in the environment that this one is based on: what is not built here is read there."""
        return f"{self.lake.schema_prefix}_{layer.value}"

    def image(self, key: str) -> str:
        """The image to run, with its digest where the deployment knows it: a digest is always the same bytes, a tag is a promise."""
        repository: str = getattr(self.images, key)
        return f"{repository}@{self.image_digests[key]}" if key in self.image_digests else f"{repository}:{self.image_tag}"

    @property
    def work(self) -> str:
        """``work_root``; a relative one lies in the repository."""
        return self.work_root if "://" in self.work_root else str(ROOT / self.work_root)

    @property
    def secrets_backend(self) -> tuple[str, dict[str, object]] | None:
        """Class and arguments of Airflow's ``[secrets] backend``. ``None`` where jobs are processes: all secrets are in the environment there."""
        if self.runtime is Runtime.PROCESS:
            return None
        arguments: dict[str, object] = {"source": self.secrets.source, "root": self.secrets.root, "cache_seconds": self.secrets.cache_seconds}
        return "platform_secrets.PlatformSecrets", {**arguments, **({"region_name": self.secrets.region} if self.secrets.region else {})}

    def schema_for(self, layer: Layer) -> str:
        """The schema of one layer, with the developer's or pull request's suffix where there is one."""
        base = self.base_schema_for(layer)
        return f"{base}_{self.schema_suffix}" if self.schema_suffix and layer is not Layer.RAW else base


class LakeConnection(_Model):
    """Where Trino answers right now.

    Read from ``TRINO_HOST``, ``TRINO_PORT``, ``TRINO_USER``, ``TRINO_CATALOG``, ``TRINO_HTTP_SCHEME`` and, where users have one (LDAP), the
    password that dbt's profile reads as well, ``DBT_ENV_SECRET_TRINO_PASSWORD``. pyiceberg reads its own ``PYICEBERG_CATALOG__<CATALOG>__…`` variables.
    """

    host: str
    port: int
    user: str
    catalog: str
    http_scheme: Literal["http", "https"]
    password: SecretStr = SecretStr("")


def refuse(key: str, found: str, allowed: str, example: str = "") -> ConfigError:
    """The error for a variable: what was found, what is allowed."""
    return ConfigError((Problem("environment variables", key, found, allowed, example),))


def name_of(environ: Mapping[str, str]) -> Environment:
    """Which environment the variables say. Raises ``ConfigError``, for production without the cluster's marker, too."""
    found = environ.get("OL_ENVIRONMENT", Environment.LOCAL.value)
    try:
        name = Environment(found)
    except ValueError:
        allowed = ", ".join(item.value for item in Environment)
        raise refuse("OL_ENVIRONMENT", repr(found), allowed, "OL_ENVIRONMENT=qa") from None
    marker = environ.get("OL_CLUSTER", "")
    if (name is Environment.PRODUCTION) != (marker == Environment.PRODUCTION.value):
        raise refuse("OL_CLUSTER", f"{marker!r} beside OL_ENVIRONMENT={name.value}", "'production' exactly when OL_ENVIRONMENT is production")
    return name


def _suffix(name: Environment, environ: Mapping[str, str]) -> str:
    suffix = environ.get("OL_SCHEMA_SUFFIX", "")
    if suffix and not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", suffix):
        raise refuse("OL_SCHEMA_SUFFIX", repr(suffix), "a lower-case word of at most 31 letters, digits and underscores", "OL_SCHEMA_SUFFIX=pr_1523")
    if name is Environment.BRANCH and not suffix:
        raise refuse("OL_SCHEMA_SUFFIX", "nothing", "the branch's own suffix: a branch writes only its own schemas", "OL_SCHEMA_SUFFIX=pr_1523")
    if name is Environment.PRODUCTION and suffix:
        raise refuse("OL_SCHEMA_SUFFIX", repr(suffix), "nothing in production")
    return suffix


def _runtime(name: Environment, configured: object, environ: Mapping[str, str]) -> object:
    found = environ.get("OL_RUNTIME", "")
    if not found:
        return configured
    if found not in {runtime.value for runtime in Runtime}:
        raise refuse("OL_RUNTIME", repr(found), ", ".join(runtime.value for runtime in Runtime), "OL_RUNTIME=pod")
    if name is not Environment.LOCAL and found != configured:
        raise refuse("OL_RUNTIME", f"{found!r} beside OL_ENVIRONMENT={name.value}", "nothing: only on a laptop is there a choice")
    return found


def _image_tag(runtime: object, environ: Mapping[str, str]) -> str:
    tag = environ.get("OL_IMAGE_TAG", "")
    if not tag and runtime != Runtime.POD.value:
        return ""
    if tag == "latest" or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag):
        raise refuse("OL_IMAGE_TAG", repr(tag), "a tag other than latest: which version runs must be known", "OL_IMAGE_TAG=2026.11.20-3f2a1c0")
    return tag


def _image_digests(name: Environment, environ: Mapping[str, str]) -> dict[str, str]:
    text = environ.get("OL_IMAGE_DIGESTS", "")
    found = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    parts = [part for part in text.split(",") if part]
    known = found.keys() <= Images.model_fields.keys() and all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in found.values())
    if not known or len(found) != len(parts) or (name is Environment.PRODUCTION and found.keys() != Images.model_fields.keys()):
        allowed = f"a digest for each of {', '.join(Images.model_fields)}" + (": in production all must be known" if name is Environment.PRODUCTION else "")
        raise refuse("OL_IMAGE_DIGESTS", repr(text), allowed, "OL_IMAGE_DIGESTS=dbt=sha256:9f86…,jobs=sha256:60fd…")
    return found


@dataclass(frozen=True)
class Territory:
    """What belongs to one environment by its names: a catalog (branches share one with what they are based on), schemas, places for files."""

    environment: Environment
    catalog: str
    schema_prefix: str
    roots: tuple[str, ...]
    based_on: Environment | None


@cache
def territories() -> tuple[Territory, ...]:
    """The four environments' names, from ``environments.yml``. Raises ``ConfigError``."""
    path = UNITS / "environments.yml"
    data = read_yaml(path)
    found = []
    for name in Environment:
        settings = validate(EnvironmentSettings, {**data[name.value], "name": name.value}, f"{path.name} ({name.value})")
        roots = tuple(f"{root.rstrip('/')}/" for root in (settings.lake.warehouse, settings.work_root) if "://" in root)
        found.append(Territory(name, settings.lake.catalog, settings.lake.schema_prefix, roots, settings.based_on))
    return tuple(found)


def read_environment(environ: Mapping[str, str], release: Mapping[str, str] = MappingProxyType({})) -> EnvironmentSettings:
    """The settings that a set of environment variables asks for. Raises ``ConfigError``; see the module's docstring."""
    environ = {**environ, **release}
    name = name_of(environ)
    path = UNITS / "environments.yml"
    data = read_yaml(path)
    if not isinstance(data.get(name.value), dict):
        raise ConfigError((Problem(path.name, name.value, repr(data.get(name.value)), f"an entry for {name.value}"),))
    settings = data[name.value]
    runtime = _runtime(name, settings.get("runtime"), environ)
    overrides: dict[str, object] = {"name": name.value, "runtime": runtime, "schema_suffix": _suffix(name, environ), "image_tag": _image_tag(runtime, environ)}
    overrides["image_digests"] = _image_digests(name, environ)
    if name is Environment.LOCAL and environ.get("TRINO_CATALOG"):
        overrides["lake"] = {**settings.get("lake", {}), "catalog": environ["TRINO_CATALOG"]}
    if environ.get("OL_GRANULARITY"):
        overrides["granularity"] = environ["OL_GRANULARITY"]
    if environ.get("OL_WORK_ROOT"):
        overrides["work_root"] = environ["OL_WORK_ROOT"]
    return validate(EnvironmentSettings, {**settings, **overrides}, f"{path.name} ({name.value})")


@cache
def current_environment() -> EnvironmentSettings:
    """The environment of this process, read once."""
    return read_environment(os.environ, read_release())


def read_release(root: Path = ROOT) -> dict[str, str]:
    """The variables that a release brings with it; none for code that was not unpacked from one. Raises ``ConfigError``."""
    path = root / "release.json"
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not data.keys() <= RELEASED or not all(isinstance(value, str) for value in data.values()):
        raise ConfigError((Problem(path.name, "the file", repr(data), f"texts for {' and '.join(sorted(RELEASED))}"),))
    return data


def lake_connection(environ: Mapping[str, str] | None = None) -> LakeConnection:
    """Where Trino answers, from the variables named at :class:`LakeConnection`. Raises ``ConfigError`` when ``TRINO_HOST`` is missing."""
    environ = os.environ if environ is None else environ
    if not environ.get("TRINO_HOST"):
        raise refuse("TRINO_HOST", "nothing", "the host Trino answers at", "eval $(make -s lake)")
    port = environ.get("TRINO_PORT", "8080")
    if not port.isdecimal():
        raise refuse("TRINO_PORT", repr(port), "a port number", "TRINO_PORT=8080")
    return LakeConnection(
        host=environ["TRINO_HOST"],
        port=int(port),
        user=environ.get("TRINO_USER", "ol"),
        catalog=environ.get("TRINO_CATALOG", current_environment().lake.catalog),
        http_scheme="https" if environ.get("TRINO_HTTP_SCHEME") == "https" else "http",
        password=SecretStr(environ.get("DBT_ENV_SECRET_TRINO_PASSWORD", "")),
    )


def use_lake(address: LakeConnection) -> None:
    """Makes this process, and what reads its variables (dbt's profile does), use the Trino at ``address``."""
    os.environ |= {
        "TRINO_HOST": address.host,
        "TRINO_PORT": str(address.port),
        "TRINO_USER": address.user,
        "TRINO_CATALOG": address.catalog,
        "TRINO_HTTP_SCHEME": address.http_scheme,
    }


def use_suffix(suffix: str) -> EnvironmentSettings:
    """Makes this process work with somebody's own schemas, as if it had been started with ``OL_SCHEMA_SUFFIX``; the settings from now on.

    Raises ``ConfigError`` for a word that is no suffix, where none is allowed, and for a process that has another.
    """
    found = os.environ.get("OL_SCHEMA_SUFFIX", "")
    if found not in ("", suffix):
        raise refuse("OL_SCHEMA_SUFFIX", f"{found!r}, and {suffix!r} is asked for", "the same, or no variable")
    settings = read_environment({**os.environ, "OL_SCHEMA_SUFFIX": suffix}, read_release())
    os.environ["OL_SCHEMA_SUFFIX"] = suffix
    current_environment.cache_clear()
    return settings


def variables() -> Mapping[str, str]:
    """This process's variables, for the modules beside this one."""
    return os.environ


def secret_values() -> tuple[str, ...]:
    """What this process's variables hold in confidence: see :func:`include.config.confidential.confidential`."""
    return confidential(os.environ)
