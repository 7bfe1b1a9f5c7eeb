"""Rules of misbehaviour, the same for every stand-in: which requests they hit, and how often.

``POST /_faults`` takes a list of rules, ``DELETE`` ends them, ``GET`` shows them. For each request the first rule decides that matches, is not used up
and (with ``share``) is drawn. A rule::

    {"match": {"method": "GET", "path": "*/course_outline/*"}, "skip": 0, "count": 1, "share": 0.1, "seed": 7, "status": 503}

``path`` is a shell pattern (default: everything), ``skip`` matching requests pass first, ``count`` are hit (null: all), and of those that could be hit only
a ``share`` is, drawn from ``seed``. Effects that every service knows; each has more of its own:

``status``        answer this status (``retry_after`` as a header: seconds, or a date) without doing anything
``delay``         seconds to wait before anything else happens
``half_body``     do the work, send half of the answer, close the connection
``drop_answer``   do the work, close the connection without an answer
"""

from __future__ import annotations

import fnmatch
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

Seconds = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    """What a rule consists of: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(Strict):
    """Requests a rule is for: ``path`` is a pattern, everything else must be equal where it is given."""

    method: str | None = None
    path: str = "*"

    def fits(self, request: Mapping[str, str]) -> bool:
        """Whether a request with these properties is meant."""
        wanted = self.model_dump(exclude_defaults=True)
        path = wanted.pop("path", "*")
        return fnmatch.fnmatchcase(request["path"], path) and all(request.get(name) == value for name, value in wanted.items())


class Fault(Strict):
    """One rule; see the module's docstring. A service adds its own effects as fields, and the names that are no effects to ``CONDITIONS``."""

    CONDITIONS: ClassVar[frozenset[str]] = frozenset({"match", "skip", "count", "share", "seed", "retry_after"})

    match: Match = Match()
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] | None = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1
    seed: int = 7
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: Seconds | str | None = None
    delay: Seconds = 0
    half_body: bool = False
    drop_answer: bool = False

    @property
    def retry_header(self) -> str | None:
        """What ``Retry-After`` says."""
        return f"{self.retry_after:g}" if isinstance(self.retry_after, float) else self.retry_after

    @property
    def effects(self) -> list[str]:
        """The names of what it does."""
        return sorted(self.model_dump(exclude_defaults=True, exclude=set(self.CONDITIONS)))

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.effects:
            names = [name for name in type(self).model_fields if name not in self.CONDITIONS]
            raise ValueError(f"a rule needs an effect: {', '.join(names[:-1])} or {names[-1]}")
        return self


F = TypeVar("F", bound=Fault)


def told(error: ValidationError) -> str:
    """What is wrong with a body, field by field."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())


class UnknownRuleError(ValueError):
    """A body that is no list of rules; the message names the field."""


@dataclass
class _InForce(Generic[F]):
    fault: F
    matched: int = 0
    hit: int = 0
    draws: random.Random = field(default_factory=random.Random)

    def strikes(self, request: Mapping[str, str]) -> bool:
        if (self.fault.count is not None and self.hit >= self.fault.count) or not self.fault.match.fits(request):
            return False
        self.matched += 1
        if self.matched <= self.fault.skip or self.draws.random() >= self.fault.share:
            return False
        self.hit += 1
        return True


class Rules(Generic[F]):
    """The rules that are in force."""

    def __init__(self, kind: type[F]) -> None:
        self._adapter: TypeAdapter[list[F]] = TypeAdapter(list[kind])  # type: ignore[valid-type]
        self._rules: list[_InForce[F]] = []

    def add(self, body: bytes) -> None:
        """Adds rules, given as JSON, after those in force. Raises :class:`UnknownRuleError`."""
        try:
            found = self._adapter.validate_json(body)
        except ValidationError as error:
            raise UnknownRuleError(told(error)) from error
        self._rules += [_InForce(fault, draws=random.Random(fault.seed)) for fault in found]

    def clear(self) -> None:
        """Ends all misbehaviour."""
        self._rules.clear()

    def listed(self) -> list[dict[str, Any]]:
        """The rules, each with the number of requests it has matched and hit."""
        return [{**rule.fault.model_dump(mode="json", exclude_defaults=True), "matched": rule.matched, "hit": rule.hit} for rule in self._rules]

    def choose(self, **request: str) -> F | None:
        """The rule for a request with a ``path``, a ``method`` and what else the service's matches know."""
        return next((rule.fault for rule in self._rules if rule.strikes(request)), None)
