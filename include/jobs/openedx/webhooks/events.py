"""What MIT Learn is told. The body is made once, when the event is written down: what is signed and sent are these bytes and no others."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from include.config.openedx import LearnPlatform
from include.contract import PermanentError

Endpoint = Literal["content_files", "ovs_videos", "learning_resources"]
NAMESPACE = uuid.UUID("6f1d3a52-7f0e-4a9f-9d0c-3c1b6f2f9a77")
"""Of the ids of events. A new one would make MIT Learn apply what it has applied before."""


@dataclass(frozen=True)
class Event:
    """One thing to tell.

    ``lane`` names what the event is about (``<source>/<course>``): events of one lane are applied in the order in which they were
    enqueued. ``run_key`` names the run that has something to tell; one run's event is one event, however often the run is repeated.
    """

    endpoint: Endpoint
    lane: str
    run_key: str
    body: bytes

    @property
    def id(self) -> uuid.UUID:
        """The event's id, and the idempotency key of all its deliveries. It follows from the run key, so that even an outbox that was lost doubles nothing."""
        return uuid.uuid5(NAMESPACE, f"{self.endpoint}\n{self.lane}\n{self.run_key}")

    @property
    def path(self) -> str:
        """Where it is sent, below MIT Learn's base address."""
        return path_of(self.endpoint)


def path_of(endpoint: str) -> str:
    """The path of an endpoint, below MIT Learn's base address."""
    return f"/api/v1/webhooks/{endpoint}/"


class ContentFiles(BaseModel):
    """A course run's archive lies at ``content_path``, below the landing zone's root and without a leading slash.

    ``source`` is the platform by MIT Learn's own name, which knows no residential ``mitx``. The order of the fields is that of the body.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    course_id: Annotated[str, Field(pattern=r"^course-v1:[^/\s+]+\+[^/\s+]+\+[^/\s+]+$", max_length=255)]
    course_readable_id: Annotated[str, Field(min_length=1, max_length=255)]
    content_path: Annotated[str, Field(pattern=r"^[^/\s][^\s]*$", max_length=1024)]
    source: LearnPlatform


def content_files_event(*, course_id: str, content_path: str, source: str, run_key: str) -> Event:
    """The event of a course run's new archive. Raises ``PermanentError`` that names every field that is not as it must be."""
    if not run_key.strip():
        raise PermanentError(
            f"run key of the webhook for {course_id}: found {run_key!r}; allowed: a text that names the run, for example its published version"
        )
    values = {"course_id": course_id, "course_readable_id": course_id, "content_path": content_path, "source": source}
    try:
        payload = ContentFiles.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: found {item['input']!r}: {item['msg']}" for item in error.errors())
        raise PermanentError(f"webhook for {course_id}: {told}") from error
    return Event("content_files", f"{source}/{course_id}", run_key, compact(payload.model_dump()))


def compact(payload: dict[str, object]) -> bytes:
    """JSON without spaces, in ASCII: the form MIT Learn has been sent so far."""
    return json.dumps(payload, separators=(",", ":")).encode()
