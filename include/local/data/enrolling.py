"""Who enrols in what, gets which grade, earns which certificate: drawn alike for both platforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from include.local.data.frames import Arrays, Connection, Frame, insert, next_ids, take
from include.local.data.steps import DAY, Step, between, uuids, where

_SHIFT = np.int64(1 << 20)  # runs have ids below this, so (user, run) fits one integer


def pair_keys(pairs: Arrays) -> np.ndarray[Any, Any]:
    """One integer for each (user_id, run_id)."""
    keys: np.ndarray[Any, Any] = pairs["user_id"].astype(np.int64) * _SHIFT + pairs["run_id"].astype(np.int64)
    return keys


def choose_pairs(rng: np.random.Generator, step: Step, count: int, *, users: Arrays, runs: Arrays, known: Arrays) -> Arrays:
    """About ``count`` new enrolments: user_id, run_id, enrolled_on, ascending by time.

    ``users`` has user_id and created_on, ``runs`` run_id, enrollment_start and enrollment_end (may be missing: open for ever), ``known`` the
    (user_id, run_id) that exist. Some runs are far more popular than others. Nobody enrols before the account exists or while enrolment is closed.
    """
    tries = count * 4
    weights = 1.0 / (1.0 + rng.permutation(len(runs["run_id"])))
    who = rng.integers(0, len(users["user_id"]), tries)
    what = rng.choice(len(runs["run_id"]), tries, p=(weights + 0.02) / (weights + 0.02).sum())
    pairs = {"user_id": users["user_id"][who], "run_id": runs["run_id"][what]}
    low = np.maximum(np.maximum(users["created_on"][who], runs["enrollment_start"][what]), step.start)
    closing = runs["enrollment_end"][what]
    high = np.minimum(np.where(np.isnat(closing), step.end, closing), step.end)
    pairs["enrolled_on"] = between(rng, low, high)
    keys = pair_keys(pairs)
    possible = np.flatnonzero((low < high) & ~np.isin(keys, pair_keys(known)))
    _, first = np.unique(keys[possible], return_index=True)
    chosen = possible[np.sort(first)][:count]
    return take(pairs, chosen[np.argsort(pairs["enrolled_on"][chosen], kind="stable")])


def add_grades(connection: Connection, step: Step, rng: np.random.Generator, rows: Arrays, available: np.ndarray[Any, Any]) -> Arrays:
    """Grades for enrolments (user_id, run_id) from the moments ``available`` on; returns user_id, run_id, passed and graded_on."""
    count = len(rows["user_id"])
    grades = np.round(np.clip(rng.beta(4, 2, count), 0, 1), 4)
    passed = grades >= 0.6
    low = np.minimum(np.maximum(available, step.start), step.end - DAY / 2)
    graded = between(rng, low, np.minimum(low + 7 * DAY, step.end))
    frame: Frame = {
        "id": next_ids(connection, "courses_courserungrade", count),
        "user_id": rows["user_id"],
        "course_run_id": rows["run_id"],
        "grade": grades,
        "letter_grade": where(passed, letter(grades), None),
        "passed": passed,
        "set_by_admin": rng.random(count) < 0.005,
        "created_on": graded,
        "updated_on": graded,
    }
    insert(connection, "courses_courserungrade", frame)
    return {"user_id": rows["user_id"], "run_id": rows["run_id"], "passed": passed, "graded_on": graded}


def letter(grades: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A from 0.9, B from 0.8, C below."""
    return np.where(grades >= 0.9, "A", np.where(grades >= 0.8, "B", "C")).astype(object)


def add_certificates(connection: Connection, step: Step, rng: np.random.Generator, graded: Arrays, *, issue_date: bool) -> None:
    """Certificates for (user_id, run_id, graded_on). 2 % were revoked and issued again, 1 % revoked for good."""
    count = len(graded["user_id"])
    moments = between(rng, graded["graded_on"], np.minimum(graded["graded_on"] + DAY, step.end))
    odds = rng.random(count)
    again = odds < 0.02
    user, run = (np.concatenate([graded[name], graded[name][again]]) for name in ("user_id", "run_id"))
    created = np.concatenate([moments, between(rng, moments[again], np.full(int(again.sum()), step.end))])
    revoked = np.concatenate([odds < 0.03, np.zeros(int(again.sum()), dtype=bool)])
    updated = np.where(revoked, between(rng, created, np.full(len(created), step.end)), created)
    frame: dict[str, Any] = {
        "id": next_ids(connection, "courses_courseruncertificate", len(user)),
        "uuid": uuids(rng, len(user)),
        "user_id": user,
        "course_run_id": run,
        "is_revoked": revoked,
        "created_on": created,
        "updated_on": updated,
    }
    if issue_date:
        frame["issue_date"] = created
    insert(connection, "courses_courseruncertificate", frame)


def reissued(connection: Connection, rng: np.random.Generator, revoked: Arrays, moments: np.ndarray[Any, Any]) -> Frame:
    """New certificates in place of revoked ones (user_id, course_run_id), as columns of courses_courseruncertificate."""
    count = len(moments)
    return {
        "id": next_ids(connection, "courses_courseruncertificate", count),
        "uuid": uuids(rng, count),
        "user_id": revoked["user_id"],
        "course_run_id": revoked["course_run_id"],
        "is_revoked": np.zeros(count, dtype=bool),
        "created_on": moments,
        "updated_on": moments,
    }
