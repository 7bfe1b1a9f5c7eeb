"""Misbehaviour on request: ``POST /_faults`` takes a list of rules, ``DELETE /_faults`` ends them.

For each request the first rule that matches, is not used up and (with ``share``) is drawn decides. A rule::

    {"match": {"path": "content_files"}, "skip": 0, "count": 1, "share": 0.1, "seed": 7, "status": 503, "retry_after": 2}

``path`` is a shell pattern below ``/api/v1/webhooks/`` without the last slash (default: everything), ``skip`` matching requests pass first, ``count``
are hit (null: all), ``share`` of those are, drawn by ``seed``. Effects:

``status``       answer this status (``retry_after`` as a header: seconds, or a date) instead of doing the work, or after it with ``after_work``
``delay``        seconds to wait before anything else
``twice``        do the work two times, as if the request had been doubled on its way
``hang``         do the work, then say nothing for so many seconds
``drip``         do the work, then send the answer byte by byte over so many seconds
``half_body``    do the work, send half of the answer, close the connection
``drop_answer``  do the work, close the connection without an answer
``redirect``     answer 307 to this address
``answer``       do the work, answer 200 with this text instead of MIT Learn's JSON
"""

from __future__ import annotations

import fnmatch
import random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """Requests a rule is for."""

    path: str = "*"


Seconds = Annotated[float, Field(ge=0)]


class Fault(_Strict):
    """One rule; see the module's docstring."""

    match: Match = Match()
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] | None = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    after_work: bool = False
    retry_after: Annotated[int, Field(ge=0)] | str | None = None
    delay: Seconds = 0
    twice: bool = False
    hang: Seconds = 0
    drip: Seconds = 0
    half_body: bool = False
    drop_answer: bool = False
    redirect: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        effects = (self.status, self.delay, self.twice, self.hang, self.drip, self.half_body, self.drop_answer, self.redirect, self.answer is not None)
        if not any(effects):
            raise ValueError("a rule needs an effect: status, delay, twice, hang, drip, half_body, drop_answer, redirect or answer")
        return self

    @property
    def name(self) -> str:
        """The effects, for the record."""
        return " ".join(sorted(self.model_dump(exclude_defaults=True, exclude={"match", "skip", "count", "share", "seed", "retry_after"})))


RULES = TypeAdapter(list[Fault])


class Faults:
    """The rules that are in force."""

    def __init__(self) -> None:
        self._rules: list[tuple[Fault, list[int], random.Random]] = []

    def add(self, rules: list[Fault]) -> None:
        """Adds rules after those in force."""
        self._rules += [(rule, [0], random.Random(rule.seed)) for rule in rules]

    def clear(self) -> None:
        """Ends all misbehaviour."""
        self._rules.clear()

    def listed(self) -> list[dict[str, object]]:
        """The rules, each with the number of requests it has matched."""
        return [{**rule.model_dump(mode="json", exclude_defaults=True), "matched": seen[0]} for rule, seen, _ in self._rules]

    def choose(self, path: str) -> Fault | None:
        """The rule for a request at ``path``."""
        for rule, seen, chance in self._rules:
            if not fnmatch.fnmatchcase(path, rule.match.path) or (rule.count is not None and seen[0] >= rule.skip + rule.count):
                continue
            seen[0] += 1
            if seen[0] > rule.skip and chance.random() < rule.share:
                return rule
        return None
