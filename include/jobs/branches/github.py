"""Which pull requests are open: GitHub's REST API, two calls of it.

``GET /repos/{owner}/{repo}/pulls?state=open&per_page=100`` goes on, by ``Link: …; rel="next"``, to the last page;
``GET /repos/{owner}/{repo}/pulls/{number}`` is one. An answer counts when it came whole and is what it should be. Everything else is tried again
a few times and is then a failure: half a list would read as if the rest were closed.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from include.contract import PermanentError, TransientError

log = logging.getLogger(__name__)
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
PAGES = 100
VERSION = "2022-11-28"


@dataclass(frozen=True)
class Patience:
    """Bounds of one request: tries in all, seconds before the second (twice as long before each next), seconds that ``Retry-After`` is granted at most."""

    tries: int = 4
    first: float = 1.0
    longest: float = 60.0


class GitHub:
    """One repository's pull requests. Redirects are followed nowhere: the token belongs to the one host."""

    def __init__(self, api: str, repository: str, token: str, *, seconds: float = 30.0, patience: Patience | None = None) -> None:
        self._root, self._patience = f"{api.rstrip('/')}/repos/{repository}/pulls", patience or Patience()
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json", "X-GitHub-Api-Version": VERSION}
        self._http = httpx.Client(timeout=seconds, headers={**headers, "User-Agent": "open-learning-data-platform"}, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def open_numbers(self) -> frozenset[int]:
        """All open pull requests. Raises ``TransientError`` for an answer that did not come or is none, ``PermanentError`` for a refusal."""
        found: set[int] = set()
        url: str | None = f"{self._root}?state=open&sort=created&direction=asc&per_page=100"
        for _ in range(PAGES):
            answer = self._get(url)
            found |= {_number(entry, url) for entry in self._list(answer)}
            following = answer.links.get("next", {}).get("url")
            if not following:
                return frozenset(found)
            url = urljoin(str(answer.url), following)
            if urlsplit(url)[:2] != urlsplit(self._root)[:2]:
                raise TransientError(f"{self._root}: found a next page at {url}; allowed: the same host, which alone may have the token")
        raise TransientError(f"{self._root}: found more than {PAGES} pages of open pull requests")

    def state_of(self, number: int) -> str | None:
        """``open`` or ``closed``; nothing for a number that is no pull request. Raises as :meth:`open_numbers`."""
        url = f"{self._root}/{number}"
        answer = self._get(url, missing=True)
        if answer.status_code == 404:
            return None
        data = self._json(answer)
        if not isinstance(data, dict) or data.get("number") != number or data.get("state") not in ("open", "closed"):
            raise TransientError(f"{url}: found {str(data)[:200]}; allowed: the pull request with its state, open or closed")
        return str(data["state"])

    def _list(self, answer: httpx.Response) -> list[Any]:
        data = self._json(answer)
        if not isinstance(data, list):
            raise TransientError(f"{answer.url}: found {str(data)[:200]}; allowed: a list of pull requests")
        return data

    def _json(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise TransientError(f"{answer.url}: found {answer.text[:200]!r}, which is not JSON") from None

    def _get(self, url: str | None, *, missing: bool = False) -> httpx.Response:
        wait = self._patience.first
        for attempt in range(1, self._patience.tries + 1):
            asked = 0.0
            try:
                answer = self._http.get(str(url))
            except httpx.TransportError as error:
                why = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code == 200 or (missing and answer.status_code == 404):
                    return answer
                why = f"status {answer.status_code}: {answer.text[:200]}"
                text = answer.headers.get("Retry-After", "")
                asked = min(float(text), self._patience.longest) if text.isdecimal() else 0.0
                if answer.status_code not in AGAIN and not (answer.status_code == 403 and text):  # GitHub's second limit is a 403 that says when
                    raise PermanentError(f"{url}: {why}")
            if attempt < self._patience.tries:
                log.info("%s: %s; another try", url, why)
                time.sleep(max(wait, asked))
                wait *= 2
        raise TransientError(f"{url}: no answer in {self._patience.tries} tries; the last: {why}")


def _number(entry: Any, url: str | None) -> int:
    number = entry.get("number") if isinstance(entry, dict) else None
    if not isinstance(number, int) or entry.get("state") != "open":
        raise TransientError(f"{url}: found {str(entry)[:200]} in the list; allowed: open pull requests with their numbers")
    return number
