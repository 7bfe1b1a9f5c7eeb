"""The whole job: days that are delivered again, late, twice, cut, or not at all."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.tracking_logs import landing, normalise
from include.jobs.openedx.tracking_logs.sources import Prefix, Source
from include.local.data.openedx_logs import invented_roster, write_day

from .conftest import DAY, ROUNDS, Deployment, asked, event

LINES = b"".join(event(number) for number in range(40))


def table_facts(result: JobResult) -> tuple[int | None, object]:
    (table,) = result.tables.values()
    return table.rows, table.extra["replaced"]


def test_totals_of_a_generated_day(deployment: Deployment) -> None:
    """Counts by run, type, learner and day are those that the generator counted while it thought the events up; nothing is lost between days."""
    logs = write_day(deployment.source, invented_roster("mitxonline", seed=3, learners=60), DAY, seed=3, events=4_000, files=3, awkward=0.01)
    result = deployment.run("run:1")
    assert result.facts["events"] == logs.events == table_facts(result)[0]
    assert result.facts["quarantined"] == logs.broken.total() == len(deployment.quarantine())
    assert result.facts["bytes"] == logs.bytes
    rows = deployment.rows("username", "event_type", "context", "time", "log_day")
    counted = Counter((json.loads(row["context"])["course_id"], row["event_type"], row["username"], row["time"].date()) for row in rows)
    assert counted == logs.totals.events
    assert {row["log_day"] for row in rows} == {DAY}
    assert result.facts["other_day"] == sum(count for key, count in logs.totals.events.items() if key[3] != DAY) > 0
    lines = [json.loads(line) for path in deployment.landed() for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert Counter((line["event_type"], line["username"]) for line in lines) == Counter((row["event_type"], row["username"]) for row in rows)


def test_what_a_run_tells(deployment: Deployment) -> None:
    deployment.put("tracking.log-2026-03-02-a.gz", LINES + b"broken\n\n" + event(50, time="2026-03-03T00:00:01+00:00"))
    result = deployment.run("run:1")
    (name,) = result.tables
    assert name == f"ol_data_lake_local.ol_warehouse_local_raw.raw__{deployment.name}__openedx__tracking_logs"
    (file,) = result.facts["files"]
    assert {key: file[key] for key in ("name", "lines", "events", "quarantined", "blank", "other_day")} == {
        "name": "tracking.log-2026-03-02-a.gz", "lines": 43, "events": 41, "quarantined": 1, "blank": 1, "other_day": 1,
    }  # fmt: skip
    assert (file["first"], file["last"]) == ("2026-03-02T10:00:00.000+00:00", "2026-03-03T00:00:01.000+00:00")
    assert json.loads(Path(result.links["manifest"]).read_bytes())["files"] == [
        file | {"objects": list(file["objects"]), "quarantine": list(file["quarantine"])}
    ]
    (record,) = deployment.quarantine()
    assert record["offset"] == len(LINES)
    assert record["found"] == "broken"
    assert record["source"].endswith("tracking.log-2026-03-02-a.gz")
    rows = deployment.rows("source_object", "source_offset", "retrieved_at", "username")
    assert [row["username"] for row in rows] == [f"user_{number}" for number in [*range(40), 50]]
    assert rows[3]["source_offset"] == LINES.index(event(3))
    assert rows[0]["retrieved_at"] > datetime.now(UTC) - timedelta(minutes=5)
    JobResult.from_json(result.to_json())


def test_the_same_day_again_is_the_same_table(deployment: Deployment) -> None:
    """R-10: under the same key nothing is done; under another one the partition is replaced by the same rows and objects."""
    deployment.put("2026-03-02-a.log.gz", LINES)
    deployment.put("2026-03-02-b.log", event(100) + event(101))
    deployment.run("run:1")
    content, landed = deployment.content(), deployment.landed()
    again = deployment.run("run:1")
    assert (again.facts["repeated"], deployment.commits) == (True, 1)
    assert table_facts(deployment.run("run:2")) == (42, 42)
    assert deployment.content() == content
    assert deployment.landed() == landed


def test_a_late_file_opens_its_own_day_alone(deployment: Deployment) -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    for day in days:
        deployment.put(f"{day}.log.gz", LINES)
        deployment.run(f"run:{day}", day=day)
    before = deployment.rows()
    deployment.put(f"late/{days[1]}-x.log.gz", event(200))
    assert table_facts(deployment.run("run:late", day=days[1])) == (121, 40)
    after = deployment.rows()
    others = [row for row in after if row["log_day"] != days[1]]
    assert others == [row for row in before if row["log_day"] != days[1]], "not even read again"
    assert Counter(row["log_day"] for row in after) == {days[0]: 40, days[1]: 41, days[2]: 40}


def test_deliveries_one_to_five_times_in_any_order(deployment: Deployment, request: pytest.FixtureRequest) -> None:
    """R-10: files put again under their name or another one, runs repeated under old and new keys; the end is that of one delivery each."""
    dice = random.Random(request.node.name)
    parts = {f"2026-03-0{2 + number % 3}-{number}.log.gz": b"".join(event(10 * number + place) for place in range(10)) for number in range(6)}
    deliveries = [name for name in parts for _ in range(dice.randint(1, 5))]
    dice.shuffle(deliveries)
    for number, name in enumerate(deliveries):
        copy = deliveries[:number].count(name)
        deployment.put(f"again/{copy}/{name}" if copy and dice.random() < 0.5 else name, parts[name])
        day = date.fromisoformat(name[:10])
        for key in [f"run:{number}"] * dice.randint(0, 2):
            deployment.run(key, day=day)
    for day in {name[:10] for name in parts}:
        deployment.run(f"last:{day}", day=date.fromisoformat(day))
    once = Deployment(deployment.catalog, deployment.source.parent / "once", deployment.landing)
    for name, data in parts.items():
        once.put(name, data)
    for day in {name[:10] for name in parts}:
        once.run(f"last:{day}", day=date.fromisoformat(day))
    places = ("source_object", "source_offset")
    assert [{k: v for k, v in row.items() if k not in places} for row in deployment.content()] == [
        {k: v for k, v in row.items() if k not in places} for row in once.content()
    ]


def test_names_with_quotes_and_comments(deployment: Deployment) -> None:
    """A6-2: a name is a value of a column, whatever letters it has."""
    names = ["a' OR '1'='1--2026-03-02.log", 'b"; DROP TABLE x; --2026-03-02.log.gz', "c/d\\e 2026-03-02\n.log"]
    for number, name in enumerate(names):
        deployment.put(name, event(number))
    assert deployment.run("run:' OR 1=1 --").facts["events"] == 3
    assert {row["source_object"]: row["username"] for row in deployment.rows()} == {name: f"user_{number}" for number, name in enumerate(names)}


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "plain"])
def test_cut_and_flipped_files(deployment: Deployment, packed: bool, request: pytest.FixtureRequest) -> None:
    """R-9: whatever happens to one file of two, the table holds both whole or is as it was. A flip in plain text is a broken line or another letter."""
    name = "2026-03-02-a.log" + (".gz" if packed else "")
    whole = gzip.compress(LINES, mtime=0) if packed else LINES
    deployment.put("2026-03-02-b.log.gz", event(900))
    deployment.put(name, whole, packed=False)
    deployment.run("run:whole")
    content = deployment.content()
    dice = random.Random(31)
    refused = taken = 0
    rounds = asked(request.config, ROUNDS, 10)
    for number in range(rounds):
        place = dice.randrange(1, len(whole) - 1)
        flip = number % 2 and packed
        deployment.put(name, whole[:place] + bytes([whole[place] ^ (1 << dice.randrange(8))]) + whole[place + 1 :] if flip else whole[:place], packed=False)
        try:
            deployment.run(f"run:{number}")
        except PermanentError as error:
            refused += f"{name}: " in str(error) and "bytes of text" in str(error)
        else:
            taken += 1
            if not packed:  # cut at a line's end: no one can tell
                assert whole[place - 1 : place] == b"\n" or whole[place : place + 1] == b"\n"
                deployment.put(name, whole, packed=False)
                deployment.run(f"run:{number}:again")
        assert deployment.content() == content
    assert refused == rounds - taken > 0, "each is told by its file and offset"
    assert all({"source", "offset", "reason"} <= record.keys() for record in deployment.quarantine())


def test_a_lost_file_can_be_left_out(deployment: Deployment) -> None:
    deployment.put("2026-03-02-a.log.gz", LINES)
    deployment.put("2026-03-02-b.log.gz", gzip.compress(LINES)[:-20], packed=False)
    deployment.put("2026-03-02-c.log.gz", b"", packed=False)
    with pytest.raises(PermanentError, match=r"(?s)2 log files cannot be read.*--leave-out.*b\.log\.gz: no whole gzip.*c\.log\.gz: no whole gzip"):
        deployment.run("run:1")
    assert deployment.commits == 0
    assert len(deployment.landed()) == 1, "nothing of a part of a file"
    assert sorted(record["source"][-11:-3] for record in deployment.quarantine()) == ["02-b.log", "02-c.log"]
    with pytest.raises(PermanentError, match="found nothing; allowed"):
        deployment.run("run:1", "--leave-out", "nothing")
    result = deployment.run("run:1", "--leave-out", "2026-03-02-b.log.gz", "--leave-out", "2026-03-02-c.log.gz")
    assert (result.facts["events"], len(result.facts["left_out"])) == (40, 2)


def test_an_empty_file_is_no_event(deployment: Deployment) -> None:
    deployment.put("2026-03-02-a.log", b"")
    deployment.put("2026-03-02-b.log.gz", b"")
    assert deployment.run("run:1").facts["events"] == 0
    deployment.put("2026-03-02-c.log.gz", event(1))
    assert table_facts(deployment.run("run:2")) == (1, 0)


def test_a_day_without_files_is_worth_another_try(deployment: Deployment) -> None:
    deployment.put("2026-03-03.log.gz", LINES)
    with pytest.raises(TransientError, match="no log file of the day; allowed: at least one object with 2026-03-02 or 20260302"):
        deployment.run("run:1")


def test_too_many_broken_lines(deployment: Deployment) -> None:
    deployment.put("2026-03-02-a.log.gz", LINES)
    deployment.run("run:1")
    deployment.put("2026-03-02-b.log.gz", b"no log\n" * 11)
    with pytest.raises(
        PermanentError, match=r"found 11 of 51 lines broken \(21\.6%\), most of them in 2026-03-02-b\.log\.gz \(11 of 11\); allowed: 1\.0%, or 10"
    ):
        deployment.run("run:2")
    assert deployment.commits == 1
    assert len(deployment.quarantine()) == 11
    assert deployment.run("run:3", "--max-broken", "0.3").facts["quarantined"] == 11


def test_a_file_that_grows_meanwhile_is_read_whole(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-9: the job waits until it has stopped."""
    path = deployment.put("2026-03-02-a.log", event(0))
    pieces = iter([piece for number in range(1, 8) for piece in (event(number)[:20], event(number)[20:])])
    listed = Prefix.list

    def growing(prefix: Prefix, day: date) -> tuple[Source, ...]:
        """It has grown by half a line whenever it is looked at."""
        with path.open("ab") as stream:
            stream.write(next(pieces, b""))
        return listed(prefix, day)

    monkeypatch.setattr(Prefix, "list", growing)
    result = deployment.run("run:1", "--settle", "0.1", "--patience", "120")
    assert result.facts["events"] == 8
    assert next(pieces, None) is None


def test_a_file_that_changes_while_it_is_read(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is committed, nothing is left behind, and another try does it."""
    path = deployment.put("2026-03-02-a.log", LINES)
    parse = normalise.parse_block

    def slowly(block):
        with path.open("ab") as stream:
            stream.write(event(99))
        return parse(block)

    monkeypatch.setattr(normalise, "parse_block", slowly)
    with pytest.raises(TransientError, match=r"a\.log went from \d+ to \d+ bytes"):
        deployment.run("run:1")
    monkeypatch.setattr(normalise, "parse_block", parse)
    assert deployment.commits == 0
    assert deployment.run("run:1").facts["events"] == 41


def test_large_files_land_in_parts(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "PART_TEXT", 1000)
    monkeypatch.setattr("include.jobs.openedx.tracking_logs.reading.BLOCK_BYTES", 4 << 10)
    deployment.put("2026-03-02-a.log.gz", b"".join(event(number) for number in range(200)))
    (file,) = deployment.run("run:1").facts["files"]
    assert len(file["objects"]) > 3
    lines = [json.loads(line)["username"] for name in file["objects"] for line in gzip.decompress(Path(name).read_bytes()).splitlines()]
    assert lines == [f"user_{number}" for number in range(200)]
    deployment.put(
        "2026-03-02-a.log.gz", gzip.compress(b"".join(event(number) for number in range(150)) + random.Random(1).randbytes(30_000))[:-9], packed=False
    )
    before = deployment.landed()
    with pytest.raises(PermanentError, match="no whole gzip stream"):
        deployment.run("run:2")
    assert deployment.landed() == before, "parts of a file that cannot be read are gone, those of a whole one stay"
