"""The forum of a deployment, day after day: threads, responses, comments, users, votes and subscriptions of the course runs and learners in its databases.

A deployment that has no generated database has a forum, too: its learners are then those of a roster, as its tracking logs have them.

Documents have the shape that Open edX's forum service gives them, with what its years have left: fields that only newer documents have, nulls, empty
lists, lists of documents, names that are data (``read_states``). One seed gives one forum. A day that was killed half-way is written again, to the same
documents: their ids and who is changed follow from seed, day and id alone.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import numpy as np
from bson import ObjectId
from pymongo import DeleteOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.database import Database

from include.local.data.frames import Connection, read
from include.local.data.generate import GeneratorError, State, open_database, read_state
from include.local.data.names import MITXPRO, OPENEDX
from include.local.data.openedx_logs import Roster
from include.local.data.steps import Step

Document = dict[str, Any]
Write = ReplaceOne[Document] | UpdateOne | DeleteOne

DATABASE = "forum"
THREADS = 12_000
"""Threads of the first day at scale factor 1; a thread has two responses and a response has 0.6 comments on average."""
STATE = "generator_state"
TOPICS = ("general", "week_1", "week_2", "week_3", "final_exam", "introductions")
WORDS = (
    "graph", "proof", "why", "does", "the", "second", "term", "vanish", "when", "I", "try", "problem", "three", "and", "lecture", "says", "otherwise", "thanks",
    "série", "größer", "数学", "«quote»", "\"quoted\"", "a\\b", "$x^2$", "<p>html</p>", "😀", "line\nfeed",
)  # fmt: skip

# Where a deployment's learners and runs lie: user id, user name, run, start of the run, since when the learner is in it.
_ENROLLED: dict[str, tuple[str, LiteralString]] = {
    "mitxonline": (
        OPENEDX,
        """SELECT u.id AS user_id, u.username, e.course_id, o.start, e.created FROM student_courseenrollment e JOIN auth_user u ON u.id = e.user_id
           JOIN course_overviews_courseoverview o ON o.id = e.course_id WHERE e.is_active AND e.created < %(end)s AND o.start < %(end)s ORDER BY e.id""",
    ),
    "xpro": (
        MITXPRO,
        """SELECT u.id AS user_id, u.username, r.courseware_id AS course_id, r.start_date AS start, e.created_on AS created
           FROM courses_courserunenrollment e JOIN users_user u ON u.id = e.user_id JOIN courses_courserun r ON r.id = e.run_id
           WHERE e.active AND r.courseware_id IS NOT NULL AND e.created_on < %(end)s AND r.start_date < %(end)s ORDER BY e.id""",
    ),
}


@dataclass(frozen=True)
class Run:
    """A course run with the learners who may write in its forum, ``(user id, user name)`` each, and when it began."""

    course_id: str
    start: datetime
    learners: tuple[tuple[int, str], ...]


def generate_forum(dsn: str, server: str, deployment: str, *, database: str = DATABASE, roster: Roster | None = None) -> dict[str, int]:
    """Brings the forum at a MongoDB address to the day of the deployment's database; documents by collection.

    ``dsn`` as for :func:`include.local.data.generate.generate`. ``roster`` says who writes where the deployment has no database: day, seed and scale are then
    those of MITx Online's. Raises ``GeneratorError`` for a deployment that has neither, for a database without data, and for a forum of another seed or scale.
    """
    if roster is None and deployment not in _ENROLLED:
        raise GeneratorError(f"deployment: found {deployment}; allowed: {', '.join(_ENROLLED)}, whose learners are generated; any other with a roster")
    source, query = _ENROLLED[deployment] if roster is None else (OPENEDX, "")
    state = read_state(dsn, source)
    if state is None:
        raise GeneratorError(f"{source}: found no generated data; allowed: a database at some day")
    with MongoClient[Document](server, tz_aware=True) as client, open_database(dsn, source) as connection:
        states = client[STATE][database]
        reached = _reached(states.find_one({"_id": deployment}), state, database)
        for day in range(reached + 1, state.day + 1):
            step = Step(state.seed, state.scale, day, f"{deployment}__forum")
            write_day(client[database], step, _runs(connection, query, step) if roster is None else _runs_of(roster, step))
            states.replace_one({"_id": deployment}, {"_id": deployment, "seed": state.seed, "scale": state.scale, "day": day}, upsert=True)
        return {name: client[database][name].count_documents({}) for name in sorted(client[database].list_collection_names())}


def _reached(found: Document | None, state: State, database: str) -> int:
    if found is None:
        return -1
    if (found["seed"], found["scale"]) != (state.seed, state.scale):
        raise GeneratorError(f"{database}: found seed {found['seed']}, scale {found['scale']}; asked for seed {state.seed}, scale {state.scale}; drop it first")
    return int(found["day"])


def _runs(connection: Connection, query: LiteralString, step: Step) -> list[Run]:
    rows = read(connection, query, {"end": str(step.end)})
    learners: dict[str, list[tuple[int, str]]] = defaultdict(list)
    starts: dict[str, datetime] = {}
    for user, name, course, start in zip(*(rows[column].tolist() for column in ("user_id", "username", "course_id", "start")), strict=True):
        learners[course].append((user, name))
        starts[course] = max(start, _time(step.start) if step.day else datetime.min).replace(tzinfo=UTC)
    return [Run(course, starts[course], tuple(learners[course])) for course in sorted(learners)]


def _runs_of(roster: Roster, step: Step) -> list[Run]:
    """The runs of a roster, which does not say when they began: people write in them at any time, as in its logs."""
    learners: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for one in roster.enrolments:
        learners[one.course_id].append((one.user_id, one.username))
    return [Run(course, _aware(step.start), tuple(learners[course])) for course in sorted(learners)]


def write_day(database: Database[Document], step: Step, runs: Sequence[Run]) -> None:
    """The documents of the first day, or what a later one adds, changes and deletes. Writing a day again changes nothing."""
    day = _Day(step)
    for run in runs:
        threads = [day.thread(run) for _ in range(day.share(run, runs))]
        for thread in threads:
            day.answers(thread, run)
    old = [] if step.day == 0 else list(database["contents"].find({"created_at": {"$lt": _aware(step.start)}}).sort("_id", 1))
    day.change(old, {run.course_id: run for run in runs})
    known = {user["_id"]: user for user in database["users"].find({"_id": {"$in": [str(user) for user, _ in day.seen]}})}
    day.users(known)
    for name, writes in day.writes.items():
        if writes:
            database[name].bulk_write(writes)


@dataclass
class _Day:
    """The writes of one day in the making."""

    step: Step
    writes: dict[str, list[Write]] = field(default_factory=lambda: {"contents": [], "users": [], "subscriptions": []})
    seen: dict[tuple[int, str], dict[str, dict[str, datetime]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(dict)))

    def __post_init__(self) -> None:
        self.rng = self.step.rng("forum")

    def share(self, run: Run, runs: Sequence[Run]) -> int:
        """Threads of a run: by its learners, at least one on the first day."""
        all_learners = sum(len(one.learners) for one in runs)
        expected = self.step.size(THREADS) * len(run.learners) / all_learners
        return max(int(self.rng.poisson(expected)), 1 if self.step.day == 0 else 0)

    def thread(self, run: Run) -> Document:
        """A new thread, its author's subscription included."""
        created = self.moment(run.start, _aware(self.step.end))
        kind = "question" if self.rng.random() < 0.4 else "discussion"
        content = self.content("CommentThread", run, created)
        content |= {
            "thread_type": kind, "title": self.text(3, 9).replace("\n", " "), "commentable_id": f"{TOPICS[int(self.rng.integers(len(TOPICS)))]}",
            "context": "course", "closed": bool(self.rng.random() < 0.03), "comment_count": 0, "last_activity_at": created, "tags_array": [],
        }  # fmt: skip
        if self.rng.random() < 0.3:
            content["group_id"] = None if self.rng.random() < 0.5 else int(self.rng.integers(1, 9))
        if self.rng.random() < 0.02:
            content["pinned"] = True
        self.writes["contents"].append(ReplaceOne({"_id": content["_id"]}, content, upsert=True))
        self.subscribe(int(content["author_id"]), content, created)
        return content

    def answers(self, thread: Document, run: Run) -> None:
        """Responses to a thread, and comments on them."""
        for _ in range(int(self.rng.poisson(2.0))):
            response = self.reply(thread, run, None)
            for _ in range(int(self.rng.poisson(0.6))):
                self.reply(thread, run, response)
                response["child_count"] += 1
            thread["comment_count"] += 1 + response["child_count"]

    def reply(self, thread: Document, run: Run, parent: Document | None) -> Document:
        """A response, or with ``parent`` a comment on one."""
        after = (parent or thread)["created_at"]
        created = self.moment(after, min(after + timedelta(days=20), _aware(self.step.end)))
        content = self.content("Comment", run, created)
        key = f"{(parent or content)['_id']}" + (f"-{content['_id']}" if parent else "")
        content |= {"comment_thread_id": thread["_id"], "endorsed": False, "child_count": 0, "sk": key, "parent_ids": [parent["_id"]] if parent else []}
        if parent:
            content |= {"parent_id": parent["_id"], "depth": 1}
        elif thread.get("thread_type") == "question" and self.rng.random() < 0.3:
            content |= {"endorsed": True, "endorsement": {"user_id": thread["author_id"], "time": created}}
        self.writes["contents"].append(ReplaceOne({"_id": content["_id"]}, content, upsert=True))
        thread["last_activity_at"] = max(thread["last_activity_at"], created)
        self.seen[int(content["author_id"]), content["author_username"]][run.course_id][str(thread["_id"])] = created
        if self.rng.random() < 0.2:
            self.subscribe(int(content["author_id"]), thread, created)
        return content

    def content(self, kind: str, run: Run, created: datetime) -> Document:
        """What threads, responses and comments have in common."""
        author, name = run.learners[int(self.rng.integers(len(run.learners)))]
        voters = self.voters(run, author)
        anonymous = bool(self.rng.random() < 0.05)
        found: Document = {
            "_id": ObjectId(int(created.timestamp()).to_bytes(4, "big") + self.rng.bytes(8)), "_type": kind,
            "course_id": run.course_id, "author_id": str(author), "author_username": name,
            "body": self.text(5, 90), "visible": True, "anonymous": anonymous, "anonymous_to_peers": False, "abuse_flaggers": [],
            "historical_abuse_flaggers": [], "at_position_list": [], "votes": _votes(voters), "created_at": created, "updated_at": created,
        }  # fmt: skip
        if self.rng.random() < 0.01:
            found["abuse_flaggers"] = [str(author)]
        return found

    def voters(self, run: Run, author: int) -> list[str]:
        """User ids who vote for a new content, in no particular order."""
        count = min(int(self.rng.poisson(0.8)), len(run.learners) - 1)
        drawn = [run.learners[int(number)][0] for number in self.rng.integers(len(run.learners), size=max(count, 0))]
        return sorted({str(user) for user in drawn if user != author})

    def subscribe(self, user: int, thread: Document, moment: datetime) -> None:
        """A learner follows a thread."""
        key = ObjectId(int(moment.timestamp()).to_bytes(4, "big") + zlib.crc32(f"{user}".encode()).to_bytes(4, "big") + thread["_id"].binary[-4:])
        times = {"created_at": moment, "updated_at": moment}
        found: Document = {"_id": key, "subscriber_id": str(user), "source_id": str(thread["_id"]), "source_type": "CommentThread", **times}
        self.writes["subscriptions"].append(ReplaceOne({"_id": key}, found, upsert=True))

    def change(self, old: Sequence[Document], runs: Mapping[str, Run]) -> None:
        """What the day does to older contents: nothing mostly; a vote, an edit, an answer to a thread, or the end of a comment."""
        odds = {content["_id"]: zlib.crc32(f"{self.step.seed}/{self.step.day}/{content['_id']}".encode()) % 1000 for content in old}
        ending = {content["_id"] for content in old if odds[content["_id"]] < 2 and content["_type"] == "Comment" and content["parent_ids"]}
        answers = Counter(content["comment_thread_id"] for content in old if content["_type"] == "Comment" and content["_id"] not in ending)
        for content in old:
            run, chance, which = runs.get(content["course_id"]), odds[content["_id"]], {"_id": content["_id"]}
            if content["_id"] in ending:
                self.writes["contents"].append(DeleteOne(which))
            elif run is not None and chance < 14:
                votes = _votes(sorted({*content["votes"]["up"], str(run.learners[chance % len(run.learners)][0])}))
                self.writes["contents"].append(UpdateOne(which, {"$set": {"votes": votes}}))
            elif run is not None and chance < 20:
                self.edit(content)
            elif run is not None and chance < 50 and content["_type"] == "CommentThread":
                thread = {**content, "created_at": _aware(self.step.start)}
                self.reply(thread, run, None)
                newer = {"comment_count": answers[content["_id"]] + 1, "last_activity_at": thread["last_activity_at"]}
                self.writes["contents"].append(UpdateOne(which, {"$set": newer}))

    def edit(self, content: Document) -> None:
        """The author writes something else; the former text stays in a list of documents."""
        moment = _aware(self.step.start) + timedelta(hours=9)
        if content["updated_at"] >= _aware(self.step.start):
            return  # by this very day, which is being written again
        history = [*content.get("edit_history", []), {"original_body": content["body"], "author_id": content["author_id"], "created_at": moment}]
        edited = {"body": f"{content['body']} (edited)", "updated_at": moment, "edit_history": history}
        self.writes["contents"].append(UpdateOne({"_id": content["_id"]}, {"$set": edited}))

    def users(self, known: Mapping[str, Document]) -> None:
        """Everybody who wrote today, with the threads they have seen in each run."""
        for (user, name), courses in sorted(self.seen.items()):
            before = {state["course_id"]: state["last_read_times"] for state in known.get(str(user), {}).get("read_states", [])}
            states = [
                {"_id": ObjectId(zlib.crc32(f"{user}/{course}".encode()).to_bytes(4, "big") * 3), "course_id": course, "last_read_times": times}
                for course, times in sorted({**before, **{course: {**before.get(course, {}), **times} for course, times in courses.items()}}.items())
            ]
            fixed = {"external_id": str(user), "username": name, "default_sort_key": "date", "notification_ids": []}
            self.writes["users"].append(UpdateOne({"_id": str(user)}, {"$set": {**fixed, "read_states": states}}, upsert=True))

    def moment(self, low: datetime, high: datetime) -> datetime:
        """A moment between two, in whole milliseconds as BSON has them; the first where there is nothing between."""
        span = max((high - low) / timedelta(milliseconds=1) - 1, 0)
        found = low + timedelta(milliseconds=int(self.rng.random() * span))
        return found.replace(microsecond=found.microsecond // 1000 * 1000)

    def text(self, least: int, most: int) -> str:
        """So many words."""
        return " ".join(WORDS[int(number)] for number in self.rng.integers(len(WORDS), size=int(self.rng.integers(least, most))))


def _votes(up: list[str]) -> Document:
    return {"up": up, "down": [], "up_count": len(up), "down_count": 0, "count": len(up), "point": len(up)}


def _time(moment: np.datetime64) -> datetime:
    found: datetime = moment.astype("datetime64[us]").item()
    return found


def _aware(moment: np.datetime64) -> datetime:
    return _time(moment).replace(tzinfo=UTC)


@dataclass(frozen=True, order=True)
class ForumTotals:
    """What a forum holds of one course run; one row for every ``course_id`` of at least one document in ``contents``.

    - ``threads``: documents with ``_type`` ``CommentThread``; ``responses``: documents with ``_type`` ``Comment`` and an empty ``parent_ids``;
      ``comments``: the other documents with ``_type`` ``Comment``.
    - ``authors``: distinct ``author_id`` of all these. ``votes``: the sum of the lengths of ``votes.up``. ``endorsed``: responses with ``endorsed`` true.
    - ``subscriptions``: documents of ``subscriptions`` whose ``source_id`` is the ``_id`` of one of the threads.
    """

    course_id: str
    threads: int
    responses: int
    comments: int
    authors: int
    votes: int
    endorsed: int
    subscriptions: int


def forum_totals(server: str, *, database: str = DATABASE) -> tuple[ForumTotals, ...]:
    """The totals, counted from the server's documents one by one, sorted by run."""
    with MongoClient[Document](server) as client:
        return tuple(sorted(count_documents(client[database]["contents"].find(), client[database]["subscriptions"].find())))


def count_documents(contents: Iterable[Document], subscriptions: Iterable[Document]) -> Iterator[ForumTotals]:
    """The totals of these documents."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    authors: dict[str, set[str]] = defaultdict(set)
    courses: dict[str, str] = {}
    for content in contents:
        course = content["course_id"]
        kind = "threads" if content["_type"] == "CommentThread" else "comments" if content["parent_ids"] else "responses"
        counts[course].update({kind: 1, "votes": len(content["votes"]["up"]), "endorsed": int(kind == "responses" and content["endorsed"])})
        authors[course].add(content["author_id"])
        if kind == "threads":
            courses[str(content["_id"])] = course
    for subscription in subscriptions:
        if subscription["source_id"] in courses:
            counts[courses[subscription["source_id"]]]["subscriptions"] += 1
    for course, count in counts.items():
        written = (count["threads"], count["responses"], count["comments"])
        yield ForumTotals(course, *written, len(authors[course]), count["votes"], count["endorsed"], count["subscriptions"])
