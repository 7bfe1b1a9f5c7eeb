"""What the bodies of MIT Learn's webhooks may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

Source = Literal["mit_edx", "mitpe", "mitxonline", "oll", "ocw", "podcast", "mit_climate", "see", "xpro", "youtube", "canvas", "ovs"]
VideoKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,255}$")]
Text = Annotated[str, Field(min_length=1)]


class PayloadError(ValueError):
    """A body that MIT Learn answers with 400."""


class ContentFiles(BaseModel):
    """A course's content lies at ``content_path``."""

    source: Source
    content_path: str = ""
    course_id: str | None = None
    course_readable_id: str | None = None


class OvsVideos(BaseModel):
    """A video (``key``), or its deletion (``video_id`` and ``delete``)."""

    key: VideoKey | None = None
    video_id: VideoKey | None = None
    delete: bool = False

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if (self.video_id if self.delete else self.key) is None:
            raise ValueError("video_id is required for a deletion, key for anything else")
        return self


class Resource(BaseModel):
    """One learning resource; what else it holds is its loader's business."""

    readable_id: Text
    etl_source: Text
    resource_type: Text


class LearningResources(BaseModel):
    """A batch of resources; an empty one is refused, since it names no source that could be synchronised."""

    resources: Annotated[list[Resource], Field(min_length=1)]


MODELS: dict[str, type[BaseModel]] = {"content_files": ContentFiles, "ovs_videos": OvsVideos, "learning_resources": LearningResources}


def check(endpoint: str, body: bytes) -> None:
    """Raises ``PayloadError`` for a body that the endpoint does not take."""
    try:
        MODELS[endpoint].model_validate_json(body)
    except ValidationError as error:
        raise PayloadError("; ".join(_told(dict(item)) for item in error.errors())) from error


def _told(item: dict[str, Any]) -> str:
    return f"{'.'.join(map(str, item['loc'])) or 'body'}: {item['msg']}"
