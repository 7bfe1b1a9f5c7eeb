"""The Kubernetes objects that the official Airflow chart makes of our values, as far as our values use it.

The chart's templates are not at hand (helm/README.md), its default values are. What a container gets - settings, variables, secrets, rights, limits, probes,
volumes, waiting for migrations - comes from ``helm/airflow``, merged with those defaults, so that a value that is wrong there breaks the tests here. Shapes and
names around it are those of chart 1.22.0. Left out: the exporter of PgBouncer's metrics, whose image is not at hand, ingress, and disruption budgets.
"""

from __future__ import annotations

import configparser
import hashlib
import io
import json
from dataclasses import dataclass
from typing import Any

import yaml

from tests.helm.charts import RELEASE_NAMESPACE, Values, merged, official_defaults, templated

RELEASE = "airflow"
HOME = "/opt/airflow"
CONFIG = f"{RELEASE}-config"
TEMPLATES = f"{HOME}/pod_templates"
# key in the values → name of its container and deployment
COMPONENTS = {"scheduler": "scheduler", "apiServer": "api-server", "dagProcessor": "dag-processor", "triggerer": "triggerer"}


@dataclass(frozen=True)
class Release:
    """Values as deployed, the same with the chart's defaults, and what the chart's template engine makes of them."""

    given: Values
    values: Values
    filled: Values

    @classmethod
    def of(cls, given: Values, folder: Any) -> Release:
        """``folder`` is scratch space for Helm."""
        return cls(given, merged(official_defaults(), given), templated(given, folder))

    @property
    def image(self) -> str:
        """The image of every Airflow container."""
        return _image(self.values["images"]["airflow"])

    def objects(self) -> list[Values]:
        """Everything but the migration job, in the order of making."""
        accounts = [self._account(key) for key in (*COMPONENTS, "pgbouncer", "migrateDatabaseJob", "workers")]
        return [*accounts, self._config(), *self._pgbouncer(), self._api_service(), *(self._deployment(key) for key in COMPONENTS)]

    # --- settings --------------------------------------------------------------------------------

    def settings(self) -> dict[str, dict[str, str]]:
        """``airflow.cfg``: what the chart says by itself, then the values' ``config``."""
        bundles = json.dumps(self.values["dagProcessor"]["dagBundleConfigList"])
        own: dict[str, Any] = {
            "core": {"dags_folder": f"{HOME}/dags", "executor": self.values["executor"], "load_examples": "False"},
            "dag_processor": {"dag_bundle_config_list": bundles},
            "kubernetes_executor": {
                "multi_namespace_mode": "False",
                "namespace": RELEASE_NAMESPACE,
                "pod_template_file": f"{TEMPLATES}/pod_template_file.yaml",
                "worker_container_repository": self.values["images"]["airflow"]["repository"],
                "worker_container_tag": self.values["images"]["airflow"]["tag"],
            },
            "logging": {"colored_console_log": "False"},
        }
        return {section: {key: str(value) for key, value in options.items()} for section, options in merged(own, self.filled["config"]).items()}

    def _config(self) -> Values:
        # as the chart writes it: no interpolation, keys as they are
        parser = configparser.RawConfigParser()
        parser.read_dict(self.settings())
        text = io.StringIO()
        parser.write(text)
        template = {"apiVersion": "v1", "kind": "Pod", **self.worker_pod()}
        data = {"airflow.cfg": text.getvalue(), "pod_template_file.yaml": yaml.safe_dump(template, sort_keys=False)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(CONFIG), "data": data}

    # --- pods ------------------------------------------------------------------------------------

    def worker_pod(self) -> Values:
        """Metadata and specification of a worker pod of KubernetesExecutor."""
        workers = merged(self.values["workers"], {key: value for key, value in self.values["workers"]["kubernetes"].items() if value not in (None, {}, [])})
        container = self._container("base", workers, args=[])
        container["env"] = [{"name": "AIRFLOW__CORE__EXECUTOR", "value": self.values["executor"]}, *container["env"]]
        spec = {
            **self._pod(workers, [container]),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": workers["terminationGracePeriodSeconds"],
        }
        del spec["initContainers"]
        annotations = {"cluster-autoscaler.kubernetes.io/safe-to-evict": str(workers["safeToEvict"]).lower()}
        labels = {"tier": "airflow", "component": "worker", "release": RELEASE, **self.values["labels"], **workers["labels"]}
        return {"metadata": {"name": "placeholder", "labels": labels, "annotations": annotations}, "spec": spec}

    def _deployment(self, key: str) -> Values:
        of, name = self.values[key], COMPONENTS[key]
        container = self._container(name, of, args=of["args"])
        container |= _probes(key, of, self.values["ports"]["apiServer"])
        spec = self._pod(of, [container])
        if key == "scheduler":  # its executor makes worker pods from this file
            spec["containers"][0]["volumeMounts"].append(
                {"name": "config", "mountPath": f"{TEMPLATES}/pod_template_file.yaml", "subPath": "pod_template_file.yaml", "readOnly": True}
            )
        spec["terminationGracePeriodSeconds"] = of.get("terminationGracePeriodSeconds") or 30
        labels = {"tier": "airflow", "component": name, "release": RELEASE}
        found = _deployment(f"{RELEASE}-{name}", of.get("replicas", 1), labels, {**self.values["labels"], **of["labels"]}, spec)
        # as the chart does it: other settings are other pods
        settings = json.dumps(self.settings(), sort_keys=True)
        found["spec"]["template"]["metadata"]["annotations"] = {"checksum/airflow-config": hashlib.sha256(settings.encode()).hexdigest()}
        return found

    def migration(self) -> Values:
        """The job that the chart runs after an install and an upgrade."""
        of = self.values["migrateDatabaseJob"]
        spec = {**self._pod(of, [self._container("run-airflow-migrations", of, args=of["args"])]), "restartPolicy": "OnFailure"}
        del spec["initContainers"]
        labels = {"tier": "airflow", "component": "run-airflow-migrations", "release": RELEASE, **self.values["labels"], **of["labels"]}
        pod = {"metadata": {"labels": labels}, "spec": spec}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": _meta(f"{RELEASE}-run-airflow-migrations"), "spec": {"template": pod}}

    def _pod(self, of: Values, containers: list[Values]) -> Values:
        account = of["serviceAccount"]
        return {
            "serviceAccountName": account["name"],
            "automountServiceAccountToken": account.get("automountServiceAccountToken", True),
            "securityContext": of["securityContexts"]["pod"],
            **({"priorityClassName": of["priorityClassName"]} if of.get("priorityClassName") else {}),
            "initContainers": self.filled["init"],
            "containers": containers,
            "volumes": [
                *self.values["volumes"],
                {"name": "config", "configMap": {"name": CONFIG}},
                {"name": "logs", "emptyDir": self.values["logs"]["emptyDirConfig"]},
            ],
        }

    def _container(self, name: str, of: Values, args: list[str]) -> Values:
        security = of["securityContexts"].get("container") or of["securityContexts"].get("containers")
        mounts = [
            *self.values["volumeMounts"],
            {"name": "logs", "mountPath": f"{HOME}/logs"},
            {"name": "config", "mountPath": f"{HOME}/airflow.cfg", "subPath": "airflow.cfg", "readOnly": True},
        ]
        return {
            "name": name,
            "image": self.image,
            "imagePullPolicy": self.values["images"]["airflow"]["pullPolicy"],
            **({"args": args} if args else {}),
            **({"lifecycle": of["containerLifecycleHooks"]} if of.get("containerLifecycleHooks") else {}),
            "securityContext": security,
            "resources": of["resources"],
            "env": [*self.filled["extraEnv"], *of["env"]],
            "volumeMounts": mounts,
        }

    def _account(self, key: str) -> Values:
        of = self.values[key]
        account = of["kubernetes"]["serviceAccount"] if key == "workers" else of["serviceAccount"]
        token = account.get("automountServiceAccountToken", True)
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(account["name"]), "automountServiceAccountToken": token}

    # --- what stands beside them -----------------------------------------------------------------

    def _api_service(self) -> Values:
        return _service("api-server", self.values["ports"]["apiServer"])

    def _pgbouncer(self) -> list[Values]:
        of, port = self.values["pgbouncer"], self.values["ports"]["pgbouncer"]
        container = {
            "name": "pgbouncer",
            "image": _image(self.values["images"]["pgbouncer"]),
            "imagePullPolicy": self.values["images"]["pgbouncer"]["pullPolicy"],
            "command": of["command"],
            "securityContext": of["securityContexts"]["container"],
            "resources": of["resources"],
            "lifecycle": of["containerLifecycleHooks"],
            "volumeMounts": of["extraVolumeMounts"],
            **{f"{kind}Probe": {"tcpSocket": {"port": port}, "initialDelaySeconds": 1, "periodSeconds": 5} for kind in ("liveness", "readiness")},
        }
        spec = {
            "serviceAccountName": of["serviceAccount"]["name"],
            "automountServiceAccountToken": of["serviceAccount"]["automountServiceAccountToken"],
            "securityContext": of["securityContexts"]["pod"],
            "priorityClassName": of["priorityClassName"],
            "terminationGracePeriodSeconds": 120,
            "containers": [container],
            "volumes": of["extraVolumes"],
        }
        labels = {"tier": "airflow", "component": "pgbouncer", "release": RELEASE}
        pods = _deployment(f"{RELEASE}-pgbouncer", of["replicas"], labels, {**self.values["labels"], **of["labels"]}, spec)
        return [_service("pgbouncer", port), pods]


def _image(of: Values) -> str:
    return f"{of['repository']}:{of['tag']}"


def _meta(name: str) -> Values:
    return {"name": name, "namespace": RELEASE_NAMESPACE, "labels": {"release": RELEASE}}


def _service(component: str, port: int) -> Values:
    spec = {"selector": {"tier": "airflow", "component": component, "release": RELEASE}, "ports": [{"name": component, "port": port, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _meta(f"{RELEASE}-{component}"), "spec": spec}


def _deployment(name: str, replicas: int, selector: Values, labels: Values, pod: Values) -> Values:
    template = {"metadata": {"labels": {**selector, **labels}}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": selector}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(name), "spec": spec}


def _probes(key: str, of: Values, port: int) -> Values:
    """The chart's probes: Airflow's own check of a component, and the version page of the API server."""
    found: Values = {}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if not of.get(kind):
            continue
        settings = {name: value for name, value in of[kind].items() if name not in ("command", "scheme", "enabled") and value is not None}
        action = {"httpGet": {"path": "/api/v2/version", "port": port}} if key == "apiServer" else {"exec": {"command": of[kind]["command"]}}
        found[kind] = {**action, **settings}
    return found
