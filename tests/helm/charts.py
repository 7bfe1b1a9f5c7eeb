"""The two charts as a deployment sees them: files of ``helm/``, what ``--set`` adds, and what Helm makes of both."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart

from include.config.files import ROOT
from tests.dags.collected import DIGESTS, TAG

AIRFLOW = ROOT / "helm" / "airflow"
PLATFORM = ROOT / "helm" / "platform"
ENVIRONMENTS = ("local", "branch", "qa", "production")
RELEASE_NAMESPACE = "ol-airflow"
HOW = (
    "The official chart's schema is not part of this repository. Get it with `helm pull apache-airflow/airflow --version 1.22.0 --untar` "
    "(repository https://airflow.apache.org) and name the file: OL_CHART_SCHEMA=airflow/values.schema.json"
)
# Stand-ins of the infrastructure's addresses, each different, so that a rule tells which peer it means (RFC 5737: nobody's).
ADDRESSES = {
    name: f"192.0.2.{16 * number}/28"
    for number, name in enumerate(
        ("kubernetes", "postgres", "trino", "objectStore", "catalog", "airbyte", "slack", "secrets", "openedx", "learn", "outbox", "github")
    )
}

Values = dict[str, Any]


def merged(base: Values, over: Values) -> Values:
    """As Helm merges values: maps deeply, everything else replaced, null removes."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def read(path: Path) -> Values:
    with path.open(encoding="utf-8") as stream:
        return dict(yaml.safe_load(stream))


def _chart_file(variable: str, *beside: str) -> Path:
    named = os.environ.get(variable) or ""
    if not named and beside and os.environ.get("OL_CHART_SCHEMA"):
        folder = Path(os.environ["OL_CHART_SCHEMA"]).parent
        named = next((str(folder / name) for name in beside if (folder / name).is_file()), "")
    if not named or not Path(named).is_file():
        pytest.fail(f"{variable}: found {named or 'nothing'}. {HOW}", pytrace=False)
    return Path(named)


@cache
def official_schema() -> Values:
    return dict(json.loads(_chart_file("OL_CHART_SCHEMA").read_text(encoding="utf-8")))


@cache
def official_defaults() -> Values:
    return read(_chart_file("OL_CHART_DEFAULTS", "values.defaults.yaml", "values.yaml"))


def airflow_values(environment: str) -> Values:
    """The files alone: base and environment."""
    return merged(read(AIRFLOW / "base.yaml"), read(AIRFLOW / f"{environment}.yaml"))


def airflow_deployed(environment: str) -> Values:
    """What ``helm upgrade -f base.yaml -f <environment>.yaml --set …`` uses."""
    given: Values = {"images": {"airflow": {"tag": f"{TAG}@sha256:{'a' * 64}"}}, "global": {}}
    if environment != "local":
        given["global"]["url"] = "https://airflow.test"
    if environment in {"qa", "production"}:
        given["global"]["digests"] = dict(DIGESTS)
    if environment == "branch":
        given["global"]["schemaSuffix"] = "pr_1523"
    return merged(airflow_values(environment), given)


def platform_deployed(environment: str) -> Values:
    given: Values = {}
    if environment != "local":
        given = {"postgres": {"host": "postgres.test"}, "peers": {name: {"to": [{"ipBlock": {"cidr": cidr}}]} for name, cidr in ADDRESSES.items()}}
    return merged(read(PLATFORM / "environments" / f"{environment}.yaml"), given)


def platform_values(environment: str) -> Values:
    """With the chart's own defaults."""
    return merged(read(PLATFORM / "values.yaml"), platform_deployed(environment))


def render(values: Values, *, namespace: str = RELEASE_NAMESPACE) -> dict[str, str]:
    """The platform's chart as files of text. Raises ``HelmError`` with the reason when values are refused."""
    with Chart.load(PLATFORM) as chart:
        return chart.render(values, name="platform", namespace=namespace)


def objects(values: Values, *, namespace: str = RELEASE_NAMESPACE) -> list[Values]:
    """The platform's chart as Kubernetes objects."""
    files = render(values, namespace=namespace)
    found = [document for name, text in files.items() if name.endswith(".yaml") for document in yaml.safe_load_all(text)]
    return [document for document in found if document]


@cache
def _platform_objects(environment: str) -> str:
    return json.dumps(objects(platform_deployed(environment)))


def platform_objects(environment: str) -> list[Values]:
    return list(json.loads(_platform_objects(environment)))


def named(documents: list[Values], kind: str, name: str, namespace: str | None = None) -> Values:
    (found,) = [one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name and namespace in (None, one["metadata"].get("namespace"))]
    return found


# The official chart passes some values through its template engine. This chart does nothing but that.
_PROBE = {
    "Chart.yaml": "apiVersion: v2\nname: probe\nversion: 0.0.0\n",
    "templates/_names.tpl": '{{ define "airflow.fullname" }}{{ .Release.Name }}{{ end }}',
    "templates/out.yaml": (
        "extraEnv:\n{{ tpl .Values.extraEnv . | indent 2 }}\n"
        "init:\n{{ tpl (toYaml .Values.scheduler.extraInitContainers) . | indent 2 }}\n"
        "config:\n{{ range $section, $options := .Values.config }}  {{ $section }}:\n"
        "{{ range $option, $value := $options }}    {{ $option }}: {{ tpl (toString $value) $ | quote }}\n{{ end }}{{ end }}"
    ),
}


def templated(values: Values, folder: Path) -> Values:
    """``extraEnv``, ``init`` and ``config`` of the official chart's values, with their templates filled in."""
    values = merged({"ports": official_defaults()["ports"]}, values)
    for name, text in _PROBE.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with Chart.load(folder) as chart:
        (text,) = [text for name, text in chart.render(values, name="airflow", namespace=RELEASE_NAMESPACE).items() if name.endswith("out.yaml")]
    return dict(yaml.safe_load(text))
