"""What every pod must be: it passes the ``restricted`` Pod Security Standard, has limits and no rights, and holds no secret's value."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from include.config.environments import read_environment
from include.config.files import ROOT
from include.config.locations import locations
from include.config.vocabulary import Runtime
from tests.dags.collected import DIGESTS, ENVIRONMENTS, TAG, dags_of, settings_of

PODS = [name for name in ENVIRONMENTS if settings_of(name).runtime is Runtime.POD]
# Pod Security Standard `restricted`: https://kubernetes.io/docs/concepts/security/pod-security-standards/
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECRET = re.compile(r"password|passwd|secret|token|credential|private.?key|api.?key", re.IGNORECASE)


def pods(name: str) -> dict[str, Any]:
    found = {f"{dag_id}.{task_id}": pod for dag_id, dag in dags_of(name).items() for task_id, pod in dag["pods"].items()}
    assert found
    return found


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """One pod, for the checks' own tests."""
    return dict(pods("production")["warehouse.build"])


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    spec = pod["spec"]
    return [*spec["containers"], *spec.get("initContainers", []), *spec.get("ephemeralContainers", [])]


def against_restricted(pod: dict[str, Any]) -> list[str]:
    """What the ``restricted`` standard would refuse."""
    spec = pod["spec"]
    whole = spec.get("securityContext", {})
    wrong = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    wrong += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if not set(volume) - {"name"} <= VOLUMES]
    wrong += [f"{key} is set" for key in ("sysctls", "seLinuxOptions") if whole.get(key)]
    for container in containers(pod):
        own = container.get("securityContext", {})
        of = {**{key: whole.get(key) for key in ("runAsNonRoot", "runAsUser", "seccompProfile")}, **own}
        checks = {
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") in ({"drop": ["ALL"]}, {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
            "runAsNonRoot": of["runAsNonRoot"] is True,
            "runAsUser": of["runAsUser"] not in (None, 0),
            "seccompProfile": (of["seccompProfile"] or {}).get("type") in {"RuntimeDefault", "Localhost"},
            "privileged": not own.get("privileged"),
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
        }
        wrong += [f"{container['name']}: {key}" for key, good in checks.items() if not good]
    return wrong


def without_limits(pod: dict[str, Any]) -> list[str]:
    """Containers and volumes that could take what belongs to others."""
    wrong = []
    for container in containers(pod):
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            missing = {"cpu", "memory", "ephemeral-storage"} - resources.get(kind, {}).keys()
            wrong += [f"{container['name']}: {kind}.{key}" for key in sorted(missing)]
        if resources.get("requests", {}).get("memory") != resources.get("limits", {}).get("memory") and container["name"] == "base":
            wrong.append(f"{container['name']}: memory may burst, so the pod may be evicted")
    return wrong


def loose_images(pod: dict[str, Any]) -> list[str]:
    """Images whose content is not known beforehand."""
    named = [container["image"] for container in containers(pod)]
    return [image for image in named if not re.search(r"@sha256:[0-9a-f]{64}$|:(?!latest$)[A-Za-z0-9_][\w.-]*$", image)]


def secret_values(pod: dict[str, Any]) -> list[str]:
    """Variables and arguments that look like a secret's value instead of a reference to it."""
    wrong = []
    for container in containers(pod):
        wrong += [variable["name"] for variable in container.get("env", []) if "value" in variable and SECRET.search(variable["name"])]
        texts = [text.replace(str(ROOT), "") for text in (*container.get("command", []), *container.get("args", []))]  # this folder may be called anything
        wrong += [text for text in texts if SECRET.search(text) or ("://" in text and "@" in text)]
    return wrong


CHECKS = {"restricted": against_restricted, "limits": without_limits, "images": loose_images, "secrets": secret_values}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", PODS)
def test_every_pod_passes(name: str, check: str) -> None:
    found = {pod_id: CHECKS[check](pod) for pod_id, pod in pods(name).items()}
    assert {pod_id: wrong for pod_id, wrong in found.items() if wrong} == {}


def test_there_are_environments_with_pods() -> None:
    assert set(PODS) == {"local-pods", "branch", "qa", "production"}


@pytest.mark.parametrize("name", PODS)
def test_no_pod_may_speak_to_the_kubernetes_api(name: str) -> None:
    for pod_id, pod in pods(name).items():
        assert pod["spec"]["automountServiceAccountToken"] is False, pod_id
        assert re.fullmatch(r"job-[a-z-]+", pod["spec"]["serviceAccountName"]), pod_id


@pytest.mark.parametrize("name", PODS)
def test_every_pod_can_hand_over_its_result_and_end(name: str) -> None:
    for pod_id, pod in pods(name).items():
        by_name = {container["name"]: container for container in containers(pod)}
        assert by_name.keys() == {"base", "airflow-xcom-sidecar"}, pod_id
        assert all(container["securityContext"]["readOnlyRootFilesystem"] is True for container in by_name.values()), pod_id
        assert {mount["mountPath"] for mount in by_name["base"]["volumeMounts"]} >= {"/tmp", "/airflow/xcom"}, pod_id
        assert pod["spec"]["restartPolicy"] == "Never"
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 10
        assert "/airflow/xcom/return.json" in by_name["base"]["args"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_finds_itself_in_the_environment_of_its_dag(name: str) -> None:
    cluster = "production" if name == "production" else "shared"
    for pod_id, pod in pods(name).items():
        (base,) = [container for container in containers(pod) if container["name"] == "base"]
        environ = {variable["name"]: variable["value"] for variable in base["env"] if "value" in variable}
        (marker,) = [variable for variable in base["env"] if variable["name"] == "OL_CLUSTER"]
        assert set(marker["valueFrom"]) == {"configMapKeyRef"}, "the cluster speaks for itself: two markers, from two places"
        settings = read_environment({**environ, "OL_CLUSTER": cluster})
        where_it_was_made = {"granularity", "runtime"}
        assert settings.model_dump(exclude=where_it_was_made) == settings_of(name).model_dump(exclude=where_it_was_made), pod_id


@pytest.mark.parametrize("name", PODS)
def test_pods_are_labelled_and_run_what_was_deployed(name: str) -> None:
    for pod_id, pod in pods(name).items():
        labels = pod["metadata"]["labels"]
        assert labels.keys() >= {"app.kubernetes.io/part-of", "app.kubernetes.io/managed-by", "ol/job", "ol/domain", "ol/profile"}, pod_id
        image = containers(pod)[0]["image"]
        expected = [f"ol-data-platform/{key}@{digest}" if name == "production" else f"ol-data-platform/{key}:{TAG}" for key, digest in DIGESTS.items()]
        assert image in expected, f"{pod_id} runs {image}"


def test_production_runs_nothing_whose_bytes_could_change() -> None:
    images = {container["image"] for pod in pods("production").values() for container in containers(pod)}
    assert {image for image in images if "@sha256:" not in image} == set()


@pytest.mark.parametrize(
    ("check", "path", "value"),
    [
        ("restricted", ("hostNetwork",), True),
        ("restricted", ("hostPID",), True),
        ("restricted", ("containers", 0, "securityContext", "runAsNonRoot"), False),
        ("restricted", ("securityContext", "runAsUser"), 0),
        ("restricted", ("securityContext", "seccompProfile"), None),
        ("restricted", ("volumes", 0), {"name": "xcom", "hostPath": {"path": "/"}}),
        ("restricted", ("containers", 0, "securityContext", "privileged"), True),
        ("restricted", ("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        ("restricted", ("containers", 0, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}),
        ("restricted", ("containers", 1, "securityContext"), {}),
        ("limits", ("containers", 0, "resources", "limits", "cpu"), None),
        ("limits", ("containers", 1, "resources"), {"requests": {"cpu": "1m"}}),
        ("limits", ("containers", 0, "resources", "limits", "memory"), "64Gi"),
        ("images", ("containers", 0, "image"), "ol-data-platform/jobs"),
        ("images", ("containers", 0, "image"), "ol-data-platform/jobs:latest"),
        ("images", ("containers", 0, "image"), "registry:5000/jobs"),
        ("secrets", ("containers", 0, "env", 0), {"name": "TRINO_PASSWORD", "value": "hunter2"}),
        ("secrets", ("containers", 0, "args", 0), "postgresql://user:pass@host/db"),
        ("secrets", ("containers", 0, "args", 0), "--api-key=0123"),
    ],
)
def test_a_bad_pod_is_refused(check: str, path: tuple[Any, ...], value: Any, pod: dict[str, Any]) -> None:
    changed = copy.deepcopy(pod)
    where: Any = changed["spec"]
    for part in path[:-1]:
        where = where[part]
    if value is None:
        del where[path[-1]]
    else:
        where[path[-1]] = value
    judge: Callable[[dict[str, Any]], list[str]] = CHECKS[check]
    assert judge(pod) == []
    assert judge(changed) != []


@pytest.mark.parametrize("name", PODS)
def test_only_the_platforms_tasks_have_the_schedulers_identity(name: str) -> None:
    """A task of LocalExecutor is a process beside the scheduler and may read what the scheduler may."""
    trusted = {path.relative_to(ROOT).as_posix() for path in locations()["platform"].files(ROOT)}
    beside: dict[str, str] = {}
    for dag_id, dag in dags_of(name).items():
        whole = dag["serialized"]["dag"]
        beside |= {f"{dag_id}.{task['__var']['task_id']}": whole["relative_fileloc"] for task in whole["tasks"] if "executor" in task["__var"]}
    assert {task: file for task, file in beside.items() if file not in trusted} == {}
    assert beside or name == "branch", "short jobs of the platform wait there"
