"""What Airflow needs and a deployment has already: its PostgreSQL, in the namespace that ``helm/platform/environments/local.yaml`` names."""

from __future__ import annotations

import json
from typing import Any

SECRETS_ROOT = "ol-secrets"
SERVICES_NAMESPACE = "ol-services"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def namespace(name: str) -> dict[str, Any]:
    """A namespace in which every pod has to pass the restricted standard."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def secret(name: str, space: str, values: dict[str, str]) -> dict[str, Any]:
    """A secret of texts."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": space}, "stringData": values}


def connection_secret(location: str, conn_id: str, password: str) -> dict[str, Any]:
    """An Airflow connection of a code location, as the secrets backend wants it."""
    value = json.dumps({"conn_type": "http", "host": "h", "password": password})
    found = secret(f"connection-{conn_id.replace('_', '-')}", f"{SECRETS_ROOT}-{location}", {"value": value})
    found["metadata"]["labels"] = {"airflow.apache.org/connection-id": conn_id}
    return found


def postgres(image: str, password: str) -> list[dict[str, Any]]:
    """PostgreSQL with the database ``airflow`` and its owner ``airflow``. Its data outlive a container, and end with the pod."""
    labels = {"app": "postgres"}
    container = {
        "name": "postgres",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "POSTGRES_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "postgres", "key": "password"}}}],
        "ports": [{"containerPort": 5432}],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1", "-q"]}, "periodSeconds": 2, "timeoutSeconds": 10},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "priorityClassName": "ol-critical",  # or a job's pod would take its place when the node is full
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    where = {"name": "postgres", "namespace": SERVICES_NAMESPACE}
    return [
        secret("postgres", SERVICES_NAMESPACE, {"password": password}),
        {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": {"selector": labels, "ports": [{"port": 5432, "targetPort": 5432}]}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": where, "spec": spec},
    ]
