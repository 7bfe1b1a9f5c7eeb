"""A forum's collection as mongodump writes it: documents of several shapes, with every BSON type that PyMongo's objects tell apart."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

DOCUMENTS = 200_000
SEED = 11
RARE_SHARE = 0.03
WORDS = (
    "graph",
    "proof",
    "why",
    "does",
    "the",
    "second",
    "term",
    "vanish",
    "problem",
    "lecture",
    "thanks",
    "größer",
    "数学",
    "«quote»",
    '"quoted"',
    "$x^2$",
    "line\nfeed",
)
BEGIN = datetime(2025, 9, 1, tzinfo=UTC)


def documents(count: int = DOCUMENTS, seed: int = SEED) -> Iterator[bytes]:
    """The documents, each as BSON; 625 bytes on average. ``RARE_SHARE`` of them have one field of a type that forums do not use."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(2, 22))) for _ in range(5000)]
    parent: dict[str, Any] = {}
    for number in range(count):
        found = _thread(rng, number) if number % 4 == 0 or not parent else _comment(rng, number, parent)
        found["body"] = texts[rng.randrange(len(texts))]
        if rng.random() < RARE_SHARE:
            name, value = _rare(rng)
            found[name] = value
        if number % 4 == 0:
            parent = found
        yield bson.encode(found)


def write_collection(path: Path, count: int = DOCUMENTS, seed: int = SEED) -> None:
    """The documents as one ``.bson`` file."""
    with path.open("wb") as out:
        for raw in documents(count, seed):
            out.write(raw)


def _content(rng: random.Random, number: int, kind: str) -> dict[str, Any]:
    moment = BEGIN + timedelta(seconds=number * 7, milliseconds=rng.randrange(1000))
    author, voters = rng.randrange(20_000), [str(rng.randrange(20_000)) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
    return {
        "_id": ObjectId(int(moment.timestamp()).to_bytes(4, "big") + rng.randbytes(8)),
        "_type": kind,
        "abuse_flaggers": [],
        "historical_abuse_flaggers": [],
        "anonymous": rng.random() < 0.05,
        "anonymous_to_peers": False,
        "at_position_list": [],
        "author_id": str(author),
        "author_username": f"learner_{author}",
        "course_id": f"course-v1:MITxT+6.{number % 180}x+1T2026",
        "visible": True,
        "created_at": moment,
        "updated_at": moment,
        "votes": {"up": voters, "down": [], "up_count": len(voters), "down_count": 0, "count": len(voters), "point": len(voters)},
    }


def _thread(rng: random.Random, number: int) -> dict[str, Any]:
    found = _content(rng, number, "CommentThread")
    found |= {"title": f"Question {number}", "thread_type": rng.choice(("question", "discussion")), "commentable_id": f"week_{number % 9}", "comment_count": 3}
    found |= {"closed": False, "context": "course", "last_activity_at": found["created_at"], "tags_array": []}
    if rng.random() < 0.3:
        found["group_id"] = rng.choice((None, Int64(rng.randrange(9))))
    return found


def _comment(rng: random.Random, number: int, parent: dict[str, Any]) -> dict[str, Any]:
    found = _content(rng, number, "Comment")
    found |= {"comment_thread_id": parent["_id"], "parent_ids": [], "child_count": 0, "endorsed": False, "sk": str(found["_id"])}
    if rng.random() < 0.3:
        found |= {"parent_id": parent["_id"], "parent_ids": [parent["_id"]], "depth": 1}
    if rng.random() < 0.05:
        found["edit_history"] = [{"original_body": "before", "author_id": found["author_id"], "created_at": found["created_at"]}]
    return found


def _rare(rng: random.Random) -> tuple[str, Any]:
    values: dict[str, Any] = {
        "score": rng.random() * 10,
        "not_a_number": float("nan"),
        "blob": Binary(rng.randbytes(12)),
        "other_blob": Binary(rng.randbytes(4), 0x80),
        "key": Binary.from_uuid(UUID(bytes=rng.randbytes(16))),
        "pattern": Regex("^a.*b$", "im"),
        "code": Code("function() { return 1; }"),
        "scoped": Code("f()", {"n": 1}),
        "stamp": Timestamp(rng.randrange(1 << 32), rng.randrange(1 << 32)),
        "price": Decimal128(f"{rng.randrange(10**6)}.{rng.randrange(100):02}"),
        "least": MinKey(),
        "most": MaxKey(),
        "long_ago": DatetimeMS(-(1 << 58)),
        "child_count": "seven",
        "mixed": [1, "two", 3.0, None, {"four": [5]}],
    }
    return rng.choice(list(values.items()))
