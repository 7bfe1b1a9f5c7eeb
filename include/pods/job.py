"""One description of a job's start, from which a pod and a local process are made alike."""

from __future__ import annotations

import re
from dataclasses import dataclass

from include.config.vocabulary import Profile
from include.pods.secrets import LAKE_SECRETS, SecretRef

_DOMAIN = re.compile(r"[a-z][a-z0-9-]{0,40}\Z")
RESULT_IN_POD = "/airflow/xcom/return.json"


@dataclass(frozen=True)
class JobSpec:
    """What is run: ``python -m include.jobs <job> <arguments>``, how large, from which image, with whose rights and secrets.

    ``arguments`` may hold Jinja templates; ``domain`` names the service account and belongs to one code location,
    which says what image ``jobs`` or ``dbt`` is for its jobs.
    A ``long`` job takes minutes: nothing waits for its pod but the triggerer. For one of seconds, handing over would cost more than the wait.
    """

    job: str
    arguments: tuple[str, ...]
    domain: str
    profile: Profile = Profile.S
    image: str = "jobs"
    secrets: tuple[SecretRef, ...] = LAKE_SECRETS
    long: bool = False

    def __post_init__(self) -> None:
        if not _DOMAIN.match(self.domain):
            raise ValueError(f"domain of job {self.job}: found {self.domain!r}; allowed: lower-case letters, digits and dashes; for example: lakehouse")

    def command(self, result: str, python: str = "python") -> list[str]:
        """The command line whose JSON result appears at ``result``."""
        return [python, "-m", "include.jobs", self.job, "--result", result, *self.arguments]
