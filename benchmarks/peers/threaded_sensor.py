"""The peer of P16: course runs observed as the platform we replace does it, by a sensor with sixteen threads and a blocking HTTP client.

A tick asks for the outline of every run it knows, and takes what fails for no observation; the next tick asks again. So ticks are repeated here for what
is missing, until every run has been observed.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import requests
from requests.adapters import HTTPAdapter

THREADS = 16
TIMEOUT = (10, 60)


class Sensor:
    """Observes the runs of one LMS. ``session`` is the client's own pool, with a connection for each thread."""

    def __init__(self, lms: str, client_id: str, client_secret: str) -> None:
        self.lms = lms
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=THREADS))
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret, "token_type": "jwt"}
        token = self.session.post(f"{lms}/oauth2/access_token", data=form, timeout=TIMEOUT).json()["access_token"]
        self.session.headers["Authorization"] = f"JWT {token}"
        self.username = self.session.get(f"{lms}/api/user/v1/me", timeout=TIMEOUT).json()["username"]

    def tick(self, courses: Iterable[str]) -> dict[str, str]:
        """One tick: versions by course run, without those that failed."""
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            return {course: version for course, version in pool.map(self._observe, courses) if version is not None}

    def sweep(self, known: dict[str, str]) -> tuple[dict[str, str], int]:
        """Ticks until every run of ``known`` has been observed: the versions that differ, and the number of ticks."""
        observed: dict[str, str] = {}
        ticks = 0
        while missing := [course for course in known if course not in observed]:
            observed |= self.tick(missing)
            ticks += 1
        return {course: version for course, version in observed.items() if version != known[course]}, ticks

    def _observe(self, course: str) -> tuple[str, str | None]:
        url = f"{self.lms}/api/learning_sequences/v1/course_outline/{course}"
        try:
            answer = self.session.get(url, params={"username": self.username, "page_size": 100}, timeout=TIMEOUT)
            answer.raise_for_status()
            return course, str(answer.json()["published_version"])
        except requests.RequestException:
            return course, None
