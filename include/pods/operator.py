"""The one KubernetesPodOperator subclass: image, size, security, identity, secrets and the job contract in a single place."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import random
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pendulum
from airflow.providers.cncf.kubernetes.kubernetes_helper_functions import PodLaunchFailedException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.cncf.kubernetes.utils.container import container_is_completed, container_is_succeeded
from airflow.providers.cncf.kubernetes.utils.pod_manager import (
    EMPTY_XCOM_RESULT,
    PodLaunchTimeoutException,
    PodManager,
    PodNotFoundException,
    PodPhase,
)
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from include.config.environments import EnvironmentSettings
from include.config.locations import image_for, location_of_domain
from include.contract import PERMANENT_EXIT, JobResult, read_line
from include.pods.failures import GONE, PodFailure, failure_of
from include.pods.job import RESULT_IN_POD, JobSpec
from include.pods.logs import PatientPodManager
from include.pods.outcome import JobError, publish_results, raise_for_exit
from include.pods.profiles import PROFILES
from include.pods.secrets import refuse_secrets

NAMESPACE = "ol-jobs"
PRIORITY = "ol-batch"  # of the platform's chart: below what keeps Airflow running
LAKE_CONFIG = "ol-lake"  # a ConfigMap of the platform's chart: where Trino and the catalog answer in this cluster
LAKE_KEYS = "lake-environment"  # a Secret of variables (keys of an object store, a catalog's address with its password), where pods have no identity
LABELS = {"app.kubernetes.io/part-of": "ol-data-platform", "app.kubernetes.io/managed-by": "airflow"}
NO_IMAGE = "Image cannot be pulled"  # the provider's words; it does not say them of a registry that is only busy
NO_ROOM = "exceeded quota"  # the API server's words
LOOK_FOR_ROOM = (4.0, 8.0)  # seconds; each look leaves the refused pod in the log
SOON = 20  # seconds in which a pod starts or not (a node that has to be made first takes minutes), and in which a long job may turn out to be short
BESIDE = "LocalExecutor"  # for short jobs: a worker pod that only waits for the job's would take longer than the job
TRUSTED = "platform"  # the location whose tasks may have the scheduler's identity, which is what waiting beside it means
AT_FIRST = 5.0  # seconds in which most pods start; only then is a look a second enough
RUN_AS = 50000  # the user of every image of ours; a number, so that the kubelet can verify runAsNonRoot

# a shell that sleeps; a namespace with a quota refuses containers without limits
_SIDECAR = k8s.V1ResourceRequirements(
    requests={"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"}, limits={"cpu": "100m", "memory": "32Mi", "ephemeral-storage": "16Mi"}
)
# a shell that is a container's first process ignores TERM unless it is told, and its pod would stay for the whole grace period
_UNTIL_TOLD = 'trap "exit 0" INT TERM; while true; do sleep 1; done;'


def _restricted_pod() -> k8s.V1PodSecurityContext:
    return k8s.V1PodSecurityContext(
        run_as_non_root=True, run_as_user=RUN_AS, run_as_group=RUN_AS, fs_group=RUN_AS, seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault")
    )


def _restricted_container() -> k8s.V1SecurityContext:
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False, read_only_root_filesystem=True, run_as_non_root=True, capabilities=k8s.V1Capabilities(drop=["ALL"])
    )


def _resources(spec: JobSpec) -> k8s.V1ResourceRequirements:
    compute = PROFILES[spec.profile]
    return k8s.V1ResourceRequirements(
        requests={"cpu": compute.cpu, "memory": compute.memory, "ephemeral-storage": compute.disk},
        limits={"cpu": compute.cpu_limit, "memory": compute.memory, "ephemeral-storage": compute.disk},
    )


def _executor(spec: JobSpec) -> dict[str, str]:
    """Where the task waits for its job: a short one's beside the scheduler, if its location may; any other in a worker pod, the cluster's default."""
    return {"executor": BESIDE} if not spec.long and location_of_domain(spec.domain).name == TRUSTED else {}


def _variables(environment: EnvironmentSettings) -> list[k8s.V1EnvVar]:
    """What a job needs to find itself in the environment of its DAG. The cluster says for itself what it is: see ``OL_CLUSTER``."""
    marker = k8s.V1EnvVarSource(config_map_key_ref=k8s.V1ConfigMapKeySelector(name="ol-cluster", key="name", optional=True))
    digests = ",".join(f"{key}={digest}" for key, digest in sorted(environment.image_digests.items()))
    own = {"OL_ENVIRONMENT": environment.name.value, "OL_SCHEMA_SUFFIX": environment.schema_suffix}
    own |= {"OL_IMAGE_TAG": environment.image_tag, "OL_IMAGE_DIGESTS": digests}
    return [k8s.V1EnvVar(name=name, value=value) for name, value in own.items() if value] + [k8s.V1EnvVar(name="OL_CLUSTER", value_from=marker)]


def _readable(_container: str, line: str) -> str:
    """A job's log line for people; Airflow's log keeps the time itself."""
    level, text = read_line(line)
    return text if level <= logging.INFO else f"{logging.getLevelName(level)}: {text}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error's causes, the first one first."""
    before = error.__cause__ or error.__context__
    if before is not None:
        yield from _chain(before)
    yield error


class _EndedError(Exception):
    """The pod had ended before its wait was handed over; what it returned is published."""

    def __init__(self, result: str) -> None:
        super().__init__(result)
        self.result = result


class PlatformPodOperator(KubernetesPodOperator):
    """Runs one job in a pod of its own.

    :param spec: the job; its arguments are templated.
    :param environment: where; decides the image and the names.
    :param publish_from: task ids whose job results are published with this task's own.
    """

    def __init__(self, *, spec: JobSpec, environment: EnvironmentSettings, publish_from: tuple[str, ...] = (), **kwargs: Any) -> None:
        self.spec = spec
        self.publish_from = publish_from
        self._result: str | None = None
        command = spec.command(RESULT_IN_POD)
        scratch = k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource(size_limit=PROFILES[spec.profile].disk))
        super().__init__(
            namespace=NAMESPACE,
            name=spec.job,
            image=image_for(environment, spec.domain, spec.image),
            image_pull_policy="IfNotPresent",  # images are named by digest or commit, so a present one is the right one
            cmds=command[:1],
            arguments=command[1:],
            env_vars=_variables(environment),
            env_from=[
                k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=LAKE_CONFIG)),
                k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name=LAKE_KEYS, optional=True)),
            ],
            secrets=[Secret("env", ref.variable, ref.secret, ref.key) for ref in spec.secrets],
            labels={**LABELS, "ol/job": spec.job, "ol/domain": spec.domain, "ol/profile": spec.profile.value},
            service_account_name=f"job-{spec.domain}",
            automount_service_account_token=False,  # no job speaks to the Kubernetes API
            container_resources=_resources(spec),
            security_context=_restricted_pod(),
            container_security_context=_restricted_container(),
            xcom_sidecar_container_security_context=_restricted_container(),  # the provider's sidecar has none and is refused under `restricted`
            volumes=[scratch],
            volume_mounts=[k8s.V1VolumeMount(name="scratch", mount_path="/tmp")],  # noqa: S108 - the only writable place of a read-only root
            do_xcom_push=True,  # the job contract: one JSON result
            durable=True,  # a restarted worker finds its pod again instead of starting a second one
            deferrable=spec.long,
            poll_interval=2,
            logging_interval=5,  # the triggerer writes a long job's log while it runs; without, it appears at the end
            log_formatter=_readable,
            priority_class_name=PRIORITY,
            startup_check_interval_seconds=1,  # the default of 5 s is half of a short job's life
            startup_timeout_seconds=600,  # a new node may have to start first
            log_events_on_failure=True,  # evictions and image errors are told by events only
            termination_message_policy="FallbackToLogsOnError",  # the last lines reach the failure message even when the log is gone
            on_finish_action="delete_pod",
            on_kill_action="delete_pod",
            termination_grace_period=30,  # jobs end within it on TERM
            **{**_executor(spec), **kwargs},
        )

    @functools.cached_property
    def pod_manager(self) -> PodManager:
        """As the provider's, but patient with a node whose kubelet starts again."""
        return PatientPodManager(kube_client=self.client, callbacks=self.callbacks)

    def build_pod_request_obj(self, context: Any = None, **kwargs: Any) -> k8s.V1Pod:
        """As the provider's, but the XCom sidecar has limits, ends on TERM, and has the job's own image: pinned as the job is, and on the node already.

        The provider takes limits and image from an Airflow connection only, and gives it an image of somebody else's. A pod whose command
        line holds a secret is not made at all.
        """
        refuse_secrets(self.spec.job, self.arguments or ())
        pod = super().build_pod_request_obj(context, **kwargs)
        for container in pod.spec.containers:
            if container.name == PodDefaults.SIDECAR_CONTAINER_NAME:
                container.command = ["sh", "-c", _UNTIL_TOLD]
                container.resources = _SIDECAR
                container.image = self.image
        return pod

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Any) -> k8s.V1Pod:
        """As the provider's, but where the namespace's quota is used up, the pod waits for its turn instead of failing its task.

        Raises ``JobError`` when no turn comes within the time that a pod has to start.
        """
        deadline = time.monotonic() + self.startup_timeout_seconds
        while True:
            try:
                return super().get_or_create_pod(pod_request_obj, context)
            except ApiException as error:
                if error.status != 403 or NO_ROOM not in str(error.body):
                    raise
                if time.monotonic() > deadline:
                    raise JobError(f"{self.spec.job}: no room in namespace {NAMESPACE} for {self.startup_timeout_seconds} s: {error.body}") from error
                self.log.info("no room in namespace %s yet: %s", NAMESPACE, error.body)
                time.sleep(random.uniform(*LOOK_FOR_ROOM))  # noqa: S311 - so that those who wait do not all come at once

    def await_pod_start(self, pod: k8s.V1Pod) -> None:
        """As the provider's, but it looks often in the first seconds: on a node that has the image, a pod starts within one or two."""
        deadline = time.monotonic() + AT_FIRST
        while time.monotonic() < deadline and self.pod_manager.read_pod(pod).status.phase == PodPhase.PENDING:
            time.sleep(0.2)
        super().await_pod_start(pod)

    def extract_xcom(self, pod: k8s.V1Pod, *, ignore_kill_failure: bool = True) -> dict[Any, Any] | None:
        """As the provider's, but the sidecar ends with its pod, which is deleted next: to end it before takes two more commands in the container."""
        if not self.pod_manager.container_is_running(pod, PodDefaults.SIDECAR_CONTAINER_NAME):
            return None  # the whole pod has ended; cleanup tells why
        result = self.pod_manager.extract_xcom_json(pod)
        return None if result.rstrip() == EMPTY_XCOM_RESULT else json.loads(result)

    def execute(self, context: Any) -> str:
        """Runs the pod, publishes the job's tables and returns the result as JSON. The wait for a long job goes to the triggerer.

        Raises ``AirflowFailException`` for what another try cannot mend (the job's exit 64, an image that cannot be had) and
        ``JobError`` with the cluster's reason (out of memory, evicted, its node gone) for what it may.
        """
        try:
            with self._causes():
                data = super().execute(context)
        except _EndedError as ended:
            return ended.result
        return self._publish(context, data)

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> str:
        """As :meth:`execute`, from where the triggerer saw the pod end."""
        try:
            with self._causes():
                data = super().trigger_reentry(context, event)
        except _EndedError as ended:  # it was to be handed over once more
            return ended.result
        self._result = self._publish(context, data)
        return self._result

    def invoke_defer_method(self, last_log_time: Any = None, context: Any = None) -> None:
        """As the provider's, but a pod that starts soon or never, or ends soon, is known before the triggerer takes over.

        LocalExecutor's scheduler takes a task whose trigger fires within one of its rounds for lost and starts it again, which an image that is
        missing would bring about every time. And what a worker hears itself needs no second worker.
        """
        if last_log_time is None and self.pod is not None:
            self._watch_it_start(self.pod)
        if self.in_cluster is None:  # a triggerer does not find out by itself, as a worker does
            self.in_cluster = self.hook.is_in_cluster
        super().invoke_defer_method(last_log_time, context)
        # it returns when the pod has ended, having called trigger_reentry, and drops what that returned
        raise _EndedError(self._result or "")

    def _watch_it_start(self, pod: k8s.V1Pod) -> None:
        wait = self.pod_manager.await_pod_start(pod=pod, schedule_timeout=SOON, startup_timeout=SOON, check_interval=1)
        try:
            asyncio.run(wait)
        except PodLaunchTimeoutException:
            self.log.info("the pod has not started within %s s; the triggerer waits on", SOON)
            return
        except PodLaunchFailedException:
            self.process_pod_deletion(pod, reraise=False)
            raise
        until = time.monotonic() + SOON
        with contextlib.suppress(ApiException):  # the pod is gone, or the API server is away: both are the triggerer's to say
            while not container_is_completed(pod, self.base_container_name) and time.monotonic() < until:
                time.sleep(1)
                self.pod = pod = self.hook.get_pod(pod.metadata.name, pod.metadata.namespace)

    def _write_logs(self, pod: k8s.V1Pod, follow: bool = False, since_time: Any = None) -> None:  # type: ignore[override]
        """As the provider's, but formatted as the lines that a waiting worker streams."""
        since = pendulum.instance(datetime.fromisoformat(since_time)) if isinstance(since_time, str) else since_time
        self.pod_manager.fetch_container_logs(pod=pod, container_name=self.base_container_name, follow=follow, since_time=since, log_formatter=_readable)

    @contextlib.contextmanager
    def _causes(self) -> Iterator[None]:
        try:
            yield
        except PodNotFoundException as error:
            raise JobError(f"{self.spec.job}: {GONE}") from error
        except AirflowException as error:  # cleaning up raises again, on top of the first cause
            for cause in _chain(error):
                if NO_IMAGE in str(cause):
                    raise AirflowFailException(f"{self.spec.job}: {cause}") from error
            raise

    def _publish(self, context: Any, data: Any) -> str:
        if data is None:
            raise JobError(f"{self.spec.job} ended with exit code 0 but left no result")
        result = JobResult.from_json(data if isinstance(data, str) else json.dumps(data))
        publish_results(context, list(self.outlets), self.publish_from, result)
        return result.to_json()

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod | None, xcom_result: dict[str, Any] | None = None, context: Any = None) -> None:
        """As the provider's, but its failure says the reason, and a job's exit 64 fails the task at once instead of using up its retries."""
        failure = self._failure(remote_pod)
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowException as error:
            if failure is None:
                raise
            if failure.exit_code == PERMANENT_EXIT:
                raise_for_exit(PERMANENT_EXIT, self.spec.job, failure.reason)
            raise JobError(f"{self.spec.job}: {failure.reason}") from error

    def _failure(self, pod: k8s.V1Pod | None) -> PodFailure | None:
        """Why a pod did not succeed, from what was last seen of it, or else from what it is now."""
        found = failure_of(pod, self.base_container_name, self.spec.profile.value)
        if found or pod is None or container_is_succeeded(pod, self.base_container_name):
            return found
        try:
            now = self.client.read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        except ApiException as error:
            return PodFailure(GONE) if error.status == 404 else None
        return failure_of(now, self.base_container_name, self.spec.profile.value)
