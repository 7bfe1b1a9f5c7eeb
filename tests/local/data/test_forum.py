"""The generated forum: the learners and runs of the database, the same documents for one seed, however its days are reached."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient

from include.local.data import forum
from include.local.data.forum import ForumTotals, forum_totals, generate_forum
from include.local.data.generate import GeneratorError, generate, open_database
from include.local.data.names import OPENEDX
from include.local.data.openedx_logs import invented_roster
from include.local.platform import Platform
from tests.local.data.databases import drop

SCALE = 0.01
Client = MongoClient[dict[str, Any]]


@pytest.fixture
def client(mongodb: Platform) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb.mongodb_url) as client:
        yield client


def documents(client: MongoClient[dict[str, Any]], database: str) -> dict[str, list[dict[str, Any]]]:
    return {name: list(client[database][name].find().sort("_id", 1)) for name in sorted(client[database].list_collection_names())}


def test_a_forum_of_the_databases_learners_day_after_day(server: str, mongodb: Platform, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(server)
    with pytest.raises(GeneratorError, match=f"{OPENEDX}: found no generated data"):
        generate_forum(server, mongodb.mongodb_url, "mitxonline")
    with pytest.raises(GeneratorError, match="deployment: found mitx; allowed: mitxonline, xpro, whose learners are generated; any other with a roster"):
        generate_forum(server, mongodb.mongodb_url, "mitx")
    generate(server, scale=SCALE, seed=3)
    first = generate_forum(server, mongodb.mongodb_url, "mitxonline")
    with open_database(server, OPENEDX) as connection:
        learners = dict(connection.execute("SELECT id::text, username FROM auth_user").fetchall())
        runs = {row[0] for row in connection.execute("SELECT id FROM course_overviews_courseoverview").fetchall()}
    before = documents(client, "forum")
    assert set(first) == {"contents", "subscriptions", "users"}
    assert {content["course_id"] for content in before["contents"]} <= runs
    assert all(learners[content["author_id"]] == content["author_username"] for content in before["contents"])
    assert len({content["course_id"] for content in before["contents"]}) > 5

    generate(server, scale=SCALE, seed=3, day=3)
    half_way = KeyboardInterrupt("killed")

    def kill(*_: object, **__: object) -> None:
        raise half_way

    with monkeypatch.context() as patch:  # contents are written, users and subscriptions are not
        patch.setattr("pymongo.collection.Collection.replace_one", kill)
        with pytest.raises(KeyboardInterrupt):
            generate_forum(server, mongodb.mongodb_url, "mitxonline")
    later = generate_forum(server, mongodb.mongodb_url, "mitxonline")
    after = documents(client, "forum")
    assert later["contents"] > first["contents"]
    kept = {content["_id"]: content for content in after["contents"]}
    changed = [content for content in before["contents"] if kept.get(content["_id"]) not in (None, content)]
    assert any("edit_history" in kept[content["_id"]] for content in changed)
    assert any(kept[content["_id"]]["votes"]["count"] > content["votes"]["count"] for content in changed)
    assert generate_forum(server, mongodb.mongodb_url, "mitxonline") == later
    assert documents(client, "forum") == after

    generate_forum(server, mongodb.mongodb_url, "mitxonline", database="forum_again")
    assert {content["_id"] for content in documents(client, "forum_again")["contents"]}, "the present day can be reached at once"

    totals = forum_totals(mongodb.mongodb_url)
    assert sum(total.threads + total.responses + total.comments for total in totals) == later["contents"]
    assert sum(total.subscriptions for total in totals) == later["subscriptions"]
    assert sum(total.votes for total in totals) == sum(content["votes"]["count"] for content in after["contents"])

    client[forum.STATE]["forum"].replace_one({"_id": "mitxonline"}, {"_id": "mitxonline", "seed": 9, "scale": SCALE, "day": 0}, upsert=True)
    with pytest.raises(GeneratorError, match="forum: found seed 9"):
        generate_forum(server, mongodb.mongodb_url, "mitxonline")
    assert generate_forum(server, mongodb.mongodb_url, "xpro", database="forum_again_xpro")  # a name of its own: the session has one MongoDB["contents"] > 0


def test_a_forum_of_learners_without_a_database(server: str, mongodb: Platform, client: Client) -> None:
    """The residential courses have a roster, the same as their logs have; what the forum holds does not change with the day on which it was first made."""
    roster, names = invented_roster("mitx", seed=7, learners=60), ("forum_roster", "forum_roster_again")
    drop(server)
    with pytest.raises(GeneratorError, match=f"{OPENEDX}: found no generated data"):
        generate_forum(server, mongodb.mongodb_url, "mitx", database=names[0], roster=roster)
    generate(server, scale=SCALE, seed=3)
    first = generate_forum(server, mongodb.mongodb_url, "mitx", database=names[0], roster=roster)
    before = documents(client, names[0])
    assert first["contents"] > 100
    known = {(str(one.user_id), one.username, one.course_id) for one in roster.enrolments}
    assert {(content["author_id"], content["author_username"], content["course_id"]) for content in before["contents"]} <= known
    assert {content["course_id"] for content in before["contents"]} == {one.course_id for one in roster.enrolments}, "every run has a thread"
    assert max(content["created_at"] for content in before["contents"]).replace(tzinfo=UTC) < datetime(2026, 3, 3, tzinfo=UTC), "nothing is of a later day"
    generate(server, scale=SCALE, seed=3, day=2)
    later = generate_forum(server, mongodb.mongodb_url, "mitx", database=names[0], roster=roster)
    assert later["contents"] > first["contents"]
    assert generate_forum(server, mongodb.mongodb_url, "mitx", database=names[1], roster=roster) == later
    assert documents(client, names[0]) == documents(client, names[1])


def test_totals_count_what_they_say() -> None:
    votes = {"up": ["1", "2"], "down": ["3"]}
    thread = {"_id": "t", "course_id": "c", "_type": "CommentThread", "author_id": "1", "votes": votes}
    response = {"_id": "r", "course_id": "c", "_type": "Comment", "author_id": "2", "votes": votes, "parent_ids": [], "endorsed": True}
    comment = {"_id": "k", "course_id": "c", "_type": "Comment", "author_id": "2", "votes": votes, "parent_ids": ["r"], "endorsed": True}
    subscriptions = [{"source_id": "t"}, {"source_id": "t"}, {"source_id": "r"}]
    assert list(forum.count_documents([thread, response, comment], subscriptions)) == [ForumTotals("c", 1, 1, 1, 2, 6, 1, 2)]
