"""Events as Open edX writes them into its tracking logs: what one learner does in one sitting, each event with what a report counts of it.

Shapes follow edX's public description of tracking logs: browser events carry their payload as a JSON string, server and mobile events as
an object; a browser's ``problem_check`` is a query string and its ``problem_graded`` an array with HTML. Times are UTC with microseconds.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from include.local.data import catalog
from include.local.data.acts import Act, Kind, Place, Stretch
from include.local.data.openedx import BLOCKS

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/{}.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
)
MOBILE = "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 7 Build/UQ1A.{}) edX/org.edx.mobile"
LANGUAGES = ("en-US,en;q=0.9", "es-ES,es;q=0.9,en;q=0.8", "pt-BR,pt;q=0.9", "ja", "")
VIDEO_SECONDS = 600


@dataclass(frozen=True, order=True)
class Enrolment:
    """A learner in a course run."""

    user_id: int
    username: str
    course_id: str


@dataclass(frozen=True)
class Happening:
    """An event before it is written: its fields, its moment, and what reports count of it besides the event itself.

    ``act`` is what the learner did, for events that may belong to a row of a report. ``stretch`` of the video ``block`` was played when this event ended
    it; ``attempt`` is a checked problem ``block``, ``correct`` or not.
    """

    fields: dict[str, Any]
    time: datetime
    enrolment: Enrolment
    block: str = ""
    act: Act | None = None
    stretch: Stretch | None = None
    attempt: bool = False
    correct: bool = False

    @property
    def event_type(self) -> str:
        """As it stands in the event."""
        return str(self.fields["event_type"])


@cache
def _named(*places: tuple[Place, str]) -> tuple[tuple[Place, str], ...]:
    """The same tuple for the same blocks: a day has hundreds of thousands of acts on some thousand of them."""
    return places


class Sitting:
    """One learner's sitting: makes its events one after the other while its clock goes on."""

    def __init__(self, rng: random.Random, enrolment: Enrolment, host: str, begin: datetime) -> None:
        self.rng, self.enrolment, self.host, self.clock = rng, enrolment, host, begin
        self.mobile = rng.random() < 0.12
        self.session = f"{rng.getrandbits(128):032x}"
        self.unit = self._unit()
        self.base = {
            "username": enrolment.username,
            "ip": f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            "agent": MOBILE.format(rng.randrange(10**6)) if self.mobile else rng.choice(AGENTS).format(rng.randrange(110, 131)),
            "host": host,
            "accept_language": rng.choice(LANGUAGES),
            "session": "" if self.mobile else self.session,
        }

    def _unit(self) -> str:
        """One of the run's verticals, named as Studio names them."""
        digest = hashlib.md5(f"{self.enrolment.course_id}/{self.rng.randrange(80)}".encode(), usedforsecurity=False).hexdigest()
        return f"{self.enrolment.course_id.replace('course-v1:', 'block-v1:')}+type@vertical+block@{digest}"

    def events(self, count: int) -> Iterator[Happening]:
        """About ``count`` events."""
        made = 0
        while made < count:
            self.unit = self._unit()
            activity = self.rng.choices((self._video, self._problem, self._navigate, self._forum), (34, 36, 25, 5))[0]
            for happening in activity():
                made += 1
                yield happening

    def _wait(self, most: float) -> datetime:
        self.clock += timedelta(microseconds=self.rng.randrange(40_000, max(50_000, int(most * 1_000_000))))
        return self.clock

    def _make(self, source: str, name: str, event: Any, *, path: str, page: str | None, **counted: Any) -> Happening:
        context: dict[str, Any] = {
            "user_id": self.enrolment.user_id,
            "path": path,
            "course_id": self.enrolment.course_id,
            "org_id": self.enrolment.course_id.removeprefix("course-v1:").split("+")[0],
            "enterprise_uuid": "",
        }
        if source == "server":
            context["course_user_tags"] = {}
        if source == "mobile":
            context |= {"application": {"name": "edx.mobileapp.android", "version": "5.2.1"}, "received_at": (self.clock + timedelta(seconds=9)).isoformat()}
        if counted.get("block") and source == "server":
            context["module"] = {"display_name": f"Block {counted['block'][-2:]}", "usage_key": counted["block"]}
        fields = {
            **self.base,
            "name": name,
            "event_source": source,
            "event": json.dumps(event) if source == "browser" and not isinstance(event, str) else event,
            "event_type": name,
            "context": context,
            "referer": f"https://{self.host}/xblock/{self.unit}?exam_access=&recheck_access=1&show_bookmark=0&show_title=0&view=student_view",
            "page": page,
            "time": self.clock.astimezone(UTC).isoformat(timespec="microseconds"),
        }
        return Happening(fields, self.clock, self.enrolment, **counted)

    def _client(self, name: str, event: Any, **counted: Any) -> Happening:
        """An event of the learner's browser or app."""
        source = "mobile" if self.mobile else "browser"
        page = None if self.mobile else f"https://{self.host}/xblock/{self.unit}"
        return self._make(source, name, event, path="/event" if source == "browser" else "/segmentio/event", page=page, **counted)

    def _server(self, name: str, event: Any, handler: str, **counted: Any) -> Happening:
        return self._make("server", name, event, path=f"/courses/{self.enrolment.course_id}/{handler}", page="x_module", **counted)

    def _act(self, kind: Kind, *blocks: tuple[Place, str], position: int | None = None, target: int | None = None, correct: bool = False) -> Act:
        """What the learner does now."""
        who = self.enrolment
        return Act(kind, who.course_id, who.username, self.clock, _named(*blocks), self.base["session"], position, target, correct)

    def _block(self, kind: str, places: tuple[int, ...] = tuple(range(BLOCKS))) -> str:
        return catalog.blocks(self.enrolment.course_id, kind, [self.rng.choice(places)])[0]

    def _video(self) -> Iterator[Happening]:
        """Loads a video and watches parts of it; the position moves as the clock does."""
        block = self._block("video", tuple(place for place in range(BLOCKS) if place % 3 == 0))
        about = {"duration": VIDEO_SECONDS, "code": "hls", "id": block.rpartition("@")[2]}
        self._wait(20)

        def event(name: str, kind: Kind, told: dict[str, Any], **more: Any) -> Happening:
            places = {field: more.pop(field, None) for field in ("position", "target")}
            return self._client(name, {**about, **told}, block=block, act=self._act(kind, ("payload", block), **places), **more)

        yield event("load_video", "load", {})
        at = self.rng.randrange(0, 400_000)  # milliseconds
        for _ in range(self.rng.randrange(1, 4)):
            self._wait(3)
            yield event("play_video", "play", {"currentTime": at / 1000}, position=at)
            seen = self.rng.randrange(1_000, 180_000)
            begin, at, done = at, min(at + seen, VIDEO_SECONDS * 1000), at + seen >= VIDEO_SECONDS * 1000
            self.clock += timedelta(milliseconds=at - begin)
            if done:
                yield event("stop_video", "stop", {"currentTime": at / 1000}, position=at, stretch=(begin, at))
                return
            if self.rng.random() < 0.4:
                old, at = at, self.rng.randrange(0, VIDEO_SECONDS * 1000 - 2_000)
                told = {"old_time": old / 1000, "new_time": at / 1000, "type": "onSlideSeek"}
                yield event("seek_video", "seek", told, position=old, target=at, stretch=(begin, old))
            else:
                yield event("pause_video", "pause", {"currentTime": at / 1000}, position=at, stretch=(begin, at))

    def _problem(self) -> Iterator[Happening]:
        """Answers a problem: the browser tells the raw answer, the server the judged one."""
        block = self._block("problem", tuple(place for place in range(BLOCKS) if place % 3))
        part = f"{self.rng.getrandbits(128):032x}_2_1"
        choice, correct = f"choice_{self.rng.randrange(4)}", self.rng.random() < 0.6
        self._wait(90)
        if not self.mobile:
            yield self._client("problem_check", f"input_{part}={choice}", block=block)
        self._wait(0.4)
        verdict = {"correctness": "correct" if correct else "incorrect", "npoints": None, "msg": "", "hint": "", "hintmode": None, "queuestate": None}
        event = {
            "state": {"seed": 1, "student_answers": {}, "has_saved_answers": False, "correct_map": {}, "input_state": {part: {}}, "done": None},
            "problem_id": block,
            "answers": {part: choice},
            "grade": int(correct),
            "max_grade": 1,
            "correct_map": {part: {**verdict, "answervariable": None}},
            "success": "correct" if correct else "incorrect",
            "attempts": self.rng.randrange(1, 5),
            "submission": {
                part: {
                    "question": "Which of these is “larger” than 5 % of a café's rent?",
                    "answer": choice,
                    "response_type": "multiplechoiceresponse",
                    "input_type": "choicegroup",
                    "correct": correct,
                    "variant": "",
                    "group_label": "",
                }
            },
        }
        act = self._act("answer", ("payload", block), ("module", block), correct=correct)
        handler = f"xblock/{block}/handler/xmodule_handler/problem_check"
        yield self._server("problem_check", event, handler, block=block, act=act, attempt=True, correct=correct)
        if not self.mobile and self.rng.random() < 0.5:
            self._wait(1)
            page = f'<div class="problem" data-id="{block}"><p class="status">{event["success"]}</p></div>'
            yield self._client("problem_graded", [f"input_{part}={choice}", page], block=block)

    def _navigate(self) -> Iterator[Happening]:
        self._wait(40)
        what = self.rng.random()
        if what < 0.3:
            chapter = self._block("chapter")
            path = f"/courses/{self.enrolment.course_id}/courseware/{chapter.rpartition('@')[2]}/"
            yield self._make("server", path, json.dumps({"GET": {}, "POST": {}}), path=path, page=None, act=self._act("view", ("path", chapter)))
        elif what < 0.7 and not self.mobile:
            tab, sequential = self.rng.randrange(1, 8), self._block("sequential")
            event = {"current_tab": tab, "tab_count": 8, "id": sequential, "widget_placement": self.rng.choice(("top", "bottom"))}
            kind: Kind = "next" if (name := self.rng.choice(("seq_next", "seq_prev"))) == "seq_next" else "previous"
            yield self._client(name, event, act=self._act(kind, ("payload", sequential), ("page", self.unit)))
        elif not self.mobile:
            yield self._client("page_close", {}, act=self._act("close", ("page", self.unit)))
        else:
            event = {"course_id": self.enrolment.course_id, "category": "screen"}
            yield self._client("edx.bi.app.navigation.screen", event)

    def _forum(self) -> Iterator[Happening]:
        self._wait(200)
        name = self.rng.choice(("thread.created", "response.created", "comment.created", "searched"))
        event: dict[str, Any] = {"id": f"{self.rng.getrandbits(96):024x}", "commentable_id": f"topic_{self.rng.randrange(5)}", "category_name": "General"}
        if name == "searched":
            event = {"query": "deadline “extension”", "total_results": self.rng.randrange(40), "page": 1, "corrected_text": None}
        else:
            event |= {"title": "Week 2", "body": 'He said: "why?"\n— and\tleft.', "options": {"followed": True}, "truncated": False}
        yield self._server(f"edx.forum.{name}", event, "discussion/forum")
