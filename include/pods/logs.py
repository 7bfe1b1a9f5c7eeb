"""Reading the log of a job's pod while its node is not there for a moment."""

from __future__ import annotations

import time
from typing import Any

from airflow.providers.cncf.kubernetes.utils.pod_manager import PodLogsConsumer, PodManager
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

PATIENCE = 120.0  # seconds
PAUSE = 1.0


class PatientPodManager(PodManager):
    """The provider's, but a job whose log is not found is not given up for it.

    A kubelet that has just started answers 404 for pods that it has not looked at yet. The provider repeats a request after other errors, takes this one
    for the end of the pod, and deletes it with a job that goes on.
    """

    def read_pod_logs(self, pod: k8s.V1Pod, container_name: str, **options: Any) -> PodLogsConsumer:
        """As the provider's. Raises ``ApiException`` (404) for a pod that is gone, and for a log that is not there after :data:`PATIENCE`."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found: PodLogsConsumer = super().read_pod_logs(pod, container_name, **options)
            except ApiException as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                self.read_pod(pod)  # says so if it is the pod that is not there
                self.log.info("the node of pod %s does not know its log yet", pod.metadata.name)
                time.sleep(PAUSE)
            else:
                return found
