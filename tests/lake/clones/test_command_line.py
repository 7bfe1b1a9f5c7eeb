"""The real command line, as people type it, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.files import ROOT
from include.config.vocabulary import Layer
from include.lake.__main__ import main
from include.lake.clones.names import CloneError, Lake
from include.lake.clones.selection import Chosen, choose
from include.lake.manifest import PROJECT, load_warehouse
from tests.own_lake import process_in

from .tables import PR, base_of, content, everything_below, new_table, seen


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "include.lake", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=300)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_clone_from_its_beginning_to_its_end(own: Lake) -> None:
    base = new_table(own, "orders")
    new_table(own, "dim_user", layer=Layer.DIMENSIONAL)
    before = seen(own, base)
    created = lines(run("clone", "create", "--pr", str(PR)))
    assert created[0].split() == ["TABLE", "DONE", "SNAPSHOT", "WHY"]
    assert created[2].split() == ["mart.orders", "cloned", str(before.snapshot_id)]
    assert re.fullmatch(rf"2 cloned, 0 there before, 0 skipped in [\d.]+ s; ol_warehouse_local_<layer>_pr_{PR}", created[3])
    assert lines(run("clone", "create", "--pr", str(PR)))[3].startswith("0 cloned, 2 there before, 0 skipped")
    (header, line) = lines(run("clone", "list"))
    assert header.split()[0] == "PR"
    assert [line.split()[0], line.split()[1], line.split()[-1]] == [str(PR), "2", "2"]
    dry = lines(run("clone", "drop", "--pr", str(PR), "--dry-run"))
    assert re.fullmatch(rf"would remove 2 tables, 2 files \([\d.]+ kB\), 7 schemas, tag clone_pr_{PR} on 2 tables of the base", dry[-1])
    dropped = lines(run("clone", "drop", "--pr", str(PR)))
    assert dropped == [*dry[:-1], dry[-1].replace("would remove", "removed")]
    assert lines(run("clone", "drop", "--pr", str(PR))) == [f"nothing of pull request {PR} is there"]
    assert lines(run("clone", "list")) == ["there are no clones"]
    assert seen(own, base) == before


def test_a_developers_schemas_from_their_beginning_to_their_end(own: Lake) -> None:
    new_table(own, "orders")
    made = lines(run("schema", "create", "--suffix", "me"))
    assert made[0].split() == ["LAYER", "SCHEMA"]
    assert ["mart", "ol_warehouse_local_mart_me"] in [line.split() for line in made]
    assert not any("raw" in line for line in made)
    assert made[-1] == "build into them with OL_SCHEMA_SUFFIX=me"
    assert lines(run("schema", "create", OL_SCHEMA_SUFFIX="me")) == made
    assert lines(run("schema", "drop", "--suffix", "me", "--dry-run"))[-1] == "would remove 0 tables, 0 files (0 B), 7 schemas"
    assert lines(run("schema", "drop", "--suffix", "me"))[-1].startswith("removed 0 tables")
    assert lines(run("schema", "drop", "--suffix", "me")) == ["nothing of suffix me is there"]
    assert everything_below(own, "_me/") == []
    assert content(base_of(own, "orders"))


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "told"),
    [
        (["clone", "create", "--pr", "x"], {}, 2, "argument --pr: found 'x'; allowed: a pull request's number; for example: 1523"),
        (["clone", "drop"], {}, 2, "the following arguments are required: --pr"),
        (["clone", "create", "--pr", "5"], {"OL_SCHEMA_SUFFIX": "pr_6"}, 1, "OL_SCHEMA_SUFFIX: found 'pr_6'; allowed: pr_5, or nothing"),
        (
            ["clone", "create", "--pr", "5", "--select", "state:modified+"],
            {},
            1,
            "arguments: --state: found nothing; allowed: a folder with the base's manifest",
        ),
        (["schema", "drop"], {}, 1, "--suffix: found nothing, and no OL_SCHEMA_SUFFIX; allowed: whose schemas; for example: --suffix me"),
        (["schema", "drop", "--suffix", "pr_7"], {}, 1, "for example: clone drop --pr 7"),
        (["schema", "create", "--suffix", "Me!"], {}, 1, "OL_SCHEMA_SUFFIX: found 'Me!'; allowed: a lower-case word"),
        (["schema", "create", "--suffix", "me"], {"OL_SCHEMA_SUFFIX": "you"}, 1, "found 'you', and 'me' is asked for"),
    ],
    ids=["number", "missing", "suffix", "state", "whose", "clone", "word", "two"],
)
def test_what_is_refused(
    own_variables: dict[str, str], capsys: pytest.CaptureFixture[str], arguments: list[str], variables: dict[str, str], code: int, told: str
) -> None:
    """In this process, as ``python -m include.lake`` would."""
    with process_in("local", **{"OL_SCHEMA_SUFFIX": "", **variables}):
        try:
            found = main(arguments)
        except SystemExit as ended:  # argparse
            found = ended.code
    said = capsys.readouterr()
    assert (found, said.out) == (code, "")
    assert told in " ".join(said.err.split())


def test_dbt_chooses_what_changed_and_what_reads_it(tmp_path: Path) -> None:
    """The base's manifest had one model otherwise; dbt finds it, and the models behind it, with the way each is made."""
    manifest = json.loads((PROJECT / "target" / "manifest.json").read_bytes())
    changed = "model.open_learning.tfact_video_events"
    manifest["nodes"][changed]["raw_code"] += " "
    (tmp_path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    chosen = choose(current_environment(), ["state:modified+"], tmp_path)
    assert Chosen(Layer.DIMENSIONAL, "tfact_video_events", "incremental") in chosen
    readers = {model.name for model in load_warehouse().models if changed in model.upstream}
    assert readers
    assert readers <= {model.table for model in chosen}
    assert len(chosen) < len(load_warehouse().models) / 2


def test_what_dbt_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"allowed: a folder with a manifest\.json"):
        choose(current_environment(), ["state:modified"], tmp_path)
    with pytest.raises(CloneError, match=r"dbt ls --select orders ended with 2:\n(?s:.*)No dbt_project.yml found"):
        choose(current_environment(), ["orders"], project=tmp_path)
