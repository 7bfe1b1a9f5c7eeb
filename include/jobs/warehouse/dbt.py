"""dbt as a library: what a selection means, and a build whose results arrive one by one."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from google.protobuf.json_format import MessageToDict

from include.atomic import replacing
from include.config.environments import lake_connection
from include.config.errors import ConfigError
from include.contract import PermanentError, TransientError
from include.jobs.warehouse.outcomes import NodeResult, is_transient
from include.lake.manifest import PROJECT
from include.redaction import redact

log = logging.getLogger(__name__)
PARSED = PROJECT / "target" / "parse"
PARSE_STATE = "partial_parse.msgpack"
BASE = "base"
STATES_KEPT = 8
NO_VARIABLES = "{}"
# Unit tests judge code on made-up rows: they belong to development and CI, and run there. In a lane they cost as much as the models they test.
BUILDS = ("model", "seed", "snapshot", "test")
NOT_BUILT = ("--exclude-resource-type", "unit_test")


@dataclass
class Dbt:
    """The project, for one target, with a target folder of its own: two runs at a time must not share theirs.

    :param vars: dbt variables, as a JSON text.
    :param suffix: that of somebody's own schemas; what a build does not make there is read from the base's schemas, which have none.
    """

    target: str
    folder: Path
    threads: int = 4
    vars: str = NO_VARIABLES
    suffix: str = ""
    _parsed: Manifest | None = field(default=None, init=False)

    def prepare(self) -> None:
        """Parses the project. ``select`` and the first ``build`` share the result, since reading it again takes a second for 700 models.

        Only changed files are read when there is the state of an earlier parse. dbt takes that of another target or another address of Trino
        for useless, so each pair has its own: what was parsed anew is kept for the next job, and what an image brings is used where it fits.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        own = PARSED / f"{self.target}-{_address()}" / PARSE_STATE
        state = self.folder / PARSE_STATE
        known = own if own.exists() else PARSED / PARSE_STATE
        if known.exists():
            shutil.copy2(known, state)
        before = state.stat().st_mtime_ns if state.exists() else 0
        # as a file, the manifest is asked for by nothing but a suffix; to write it takes a third of the time
        parsed = self._invoke(["parse", "--write-json" if self.suffix else "--no-write-json"], None).result
        self._parsed = parsed if isinstance(parsed, Manifest) else None
        if self.suffix:
            write_base(self.folder / "manifest.json", self.folder / BASE / "manifest.json", self.suffix)
        if state.exists() and state.stat().st_mtime_ns != before:
            log.info("the project was parsed anew")
            if self.vars == NO_VARIABLES:  # with other variables dbt would take it for useless, as it did the one that is kept
                _keep(state, own)
        else:
            log.info("the project was parsed before")

    def select(self, selection: Selection) -> frozenset[str]:
        """The unique ids that ``dbt build`` would run for a selection, models and tests. Raises ``PermanentError`` for a selector dbt refuses."""
        kinds = [part for kind in BUILDS for part in ("--resource-type", kind)]  # `ls` would list sources as well
        result = self._invoke(["ls", "--output", "json", "--output-keys", "unique_id", *kinds, *selection.flags()], None)
        lines = result.result if isinstance(result.result, list) else []
        return frozenset(_unique_id(line) for line in lines if line.startswith("{"))

    def build(self, selection: Selection, report: Callable[[NodeResult], None], full_refresh: bool = False) -> None:
        """Runs ``dbt build`` for a selection, calling ``report`` for each node as it ends, from dbt's threads.

        Returns when dbt ran to its end, also when nodes failed. Raises ``PermanentError`` when the project cannot be compiled and
        ``TransientError`` when dbt stopped for a cause outside the project.
        """
        flags = ["--full-refresh"] if full_refresh else []
        flags += ["--defer", "--state", str(self.folder / BASE)] if self.suffix else []
        try:
            self._invoke(["build", "--cache-selected-only", *NOT_BUILT, *flags, *selection.flags()], report)
        finally:
            self._parsed = None  # a build leaves compiled code in it, which the next one must not find

    def _invoke(self, command: list[str], report: Callable[[NodeResult], None] | None) -> dbtRunnerResult:
        common = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target", self.target, "--target-path", str(self.folder)]
        common += ["--threads", str(self.threads)] if command[0] == "build" else []
        quiet = ["--log-level", "none", "--log-level-file", "info", "--log-path", str(self.folder), "--no-use-colors", "--no-send-anonymous-usage-stats"]

        def on_event(event: Any) -> None:
            if report is not None and event.info.name == "NodeFinished":
                report(_node_result(event))

        result = dbtRunner(manifest=self._parsed, callbacks=[on_event]).invoke([*quiet, *command, *common, "--vars", self.vars])
        if result.exception is not None:
            message = redact(" ".join(str(result.exception).split()))
            raise TransientError(message) if is_transient(message) else PermanentError(f"dbt {command[0]}: {message}")
        return result


@dataclass(frozen=True)
class Selection:
    """dbt's own selectors, as on its command line. ``exact`` leaves out the tests that dbt would add to selected models."""

    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exact: bool = False

    def flags(self) -> list[str]:
        """The command-line flags."""
        flags = ["--indirect-selection", "empty"] if self.exact else []
        flags += ["--select", *self.select] if self.select else []
        return [*flags, *(["--exclude", *self.exclude] if self.exclude else [])]


def write_base(manifest: Path, base: Path, suffix: str) -> None:
    """The project as the environment sees it that somebody's own schemas are based on: the same models, in schemas without the suffix.

    dbt reads a model there when it is not selected and not in the own schema. Raises ``PermanentError`` for a model whose schema lacks the suffix.
    """
    data = json.loads(manifest.read_bytes())
    for unique_id, node in data["nodes"].items():
        if node["resource_type"] not in {"model", "seed", "snapshot"}:
            continue
        schema = node["schema"].removesuffix(f"_{suffix}")
        if schema == node["schema"]:
            raise PermanentError(f"{unique_id}: found schema {schema}; allowed: one that ends with _{suffix}, since OL_SCHEMA_SUFFIX is set")
        if node.get("relation_name"):
            node["relation_name"] = node["relation_name"].replace(f'"{node["schema"]}"', f'"{schema}"')
        node["schema"] = schema
    base.parent.mkdir(parents=True, exist_ok=True)
    base.write_text(json.dumps(data), encoding="utf-8")


def _address() -> str:
    """A short name for where Trino answers; the same words dbt's profile reads."""
    try:
        address = lake_connection()
    except ConfigError:  # no TRINO_HOST: the profile's own address
        return "profile"
    return hashlib.sha256(f"{address.http_scheme}://{address.user}@{address.host}:{address.port}/{address.catalog}".encode()).hexdigest()[:12]


def _keep(state: Path, own: Path) -> None:
    """Puts a parse state where the next job finds it, whole or not at all. A file system that nobody may write to keeps nothing."""
    try:
        with replacing(own) as partial:
            shutil.copy2(state, partial)
        kept = sorted(PARSED.glob(f"*/{PARSE_STATE}"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-STATES_KEPT]:
            shutil.rmtree(old.parent, ignore_errors=True)
    except OSError as error:
        log.info("the parse state is not kept: %s", error)


def _unique_id(line: str) -> str:
    return str(json.loads(line)["unique_id"])


def _node_result(event: Any) -> NodeResult:
    data = MessageToDict(event.data, preserving_proto_field_name=True)
    result = data.get("run_result", {})
    adapter = result.get("adapter_response", {})
    rows = adapter.get("rows_affected")
    return NodeResult(
        unique_id=data["node_info"]["unique_id"],
        status=str(result.get("status", "error")),
        seconds=float(result.get("execution_time", 0.0)),
        rows=int(rows) if rows is not None and int(rows) >= 0 else None,
        message=redact(" ".join(str(result.get("message", "")).split())),  # goes into logs, the progress document and events
        failures=int(result["num_failures"]) if "num_failures" in result else None,
    )
