"""Random sequences over a base of 20 tables and 5 clones: whatever clones do, the base stays, and whatever the base does, clones read on.

``--clone-sequences 1000`` runs as many as the issue asks for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table

from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.lake.clones.create import Done, create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from include.lake.clones.selection import Chosen
from include.lake.metadata import pointers, read_document
from include.local.platform import Platform
from tests.lake.maintenance.conftest import Night
from tests.own_lake import new_lake
from tests.variables import variables

from .conftest import SEQUENCES
from .tables import clone_name, content, new_table, rows_of

TABLES, CLONES, STEPS = 20, 5, 8
FEW = 20
NAMES = [f"t{number:02d}" for number in range(TABLES)]
Rows = tuple[tuple[int, str], ...]


@pytest.fixture(scope="module")
def module_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with variables(new_lake(postgres, Path(tmp_path_factory.mktemp("sequences")))):
        lake = Lake.of(current_environment())
        for name in NAMES:
            new_table(lake, name)
        yield lake


class World:
    """The lake, and what must be in it: the rows of every table, and the base's files since the base itself last changed."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.draw = lake, random.Random()
        self.base: dict[str, Rows] = {name: content(self.table(name)) for name in NAMES}
        self.clones: dict[int, dict[str, Rows]] = {}
        self.next_id = 1000
        self.look()

    def table(self, name: str, clone: int | None = None) -> Table:
        identifier = (self.lake.base_schemas[Layer.MART], name) if clone is None else clone_name(self.lake, name, pull_request=clone)
        return self.lake.catalog.load_table(identifier)

    def look(self) -> None:
        """Remembers the base as it is now."""
        self.files, self.heads = self._files(), self._heads()

    def _files(self) -> list[object]:
        folder = f"local:///warehouse/{self.lake.base_schemas[Layer.MART]}"
        found = ((file.location, file.size, file.modified) for file in self.lake.store.list(folder) if not file.location.endswith(".metadata.json"))
        return sorted(found)

    def _heads(self) -> dict[str, int | None]:
        found = pointers(self.lake.catalog, self.lake.base_schemas[Layer.MART])
        return {table.table: read_document(self.lake.store, table.location).current_snapshot_id for table in found}

    def check_base(self) -> None:
        """No file, no snapshot and so no row of the base has changed since :meth:`look`."""
        assert self._files() == self.files
        assert self._heads() == self.heads

    def check_rows(self, *, of_all: bool) -> None:
        """Every row of every clone, and of the base: of some tables, whose files and snapshots are known not to have changed, or of all."""
        cloned = {name for tables in self.clones.values() for name in tables}
        for name in NAMES if of_all else sorted(cloned)[:3]:
            assert content(self.table(name)) == self.base[name], name
        for clone, tables in self.clones.items():
            for name, rows in tables.items():
                assert content(self.table(name, clone)) == rows, (clone, name)

    # --- what clones do --------------------------------------------------------------------------

    def create(self) -> None:
        clone = self.draw.randrange(1, CLONES + 1)
        names = self.draw.sample(NAMES, self.draw.choices((1, 3, TABLES), (6, 6, 1))[0])
        done = create_clone(self.lake, clone, [Chosen(Layer.MART, name, "incremental") for name in names])
        known = self.clones.setdefault(clone, {})
        for one in done:
            name = one.name.partition(".")[2]
            assert one.done is (Done.EXISTS if name in known else Done.CLONED)
            if one.done is Done.CLONED:  # a tag of an earlier clone of this table may show it as it was then
                known[name] = content(self.table(name, clone))
                if self.table(name).metadata.current_snapshot_id == one.snapshot_id:
                    assert known[name] == self.base[name]

    def drop(self) -> None:
        clone = self.draw.randrange(1, CLONES + 1)
        remove(self.lake, plan_clone_drop(self.lake, clone))
        self.clones.pop(clone, None)
        assert list(self.lake.store.list(f"local:///warehouse/{clone_name(self.lake, '', pull_request=clone)[0]}")) == []
        assert clone not in [found.pull_request for found in clones_of(self.lake)]

    def write_clone(self) -> None:
        found = self._some_clone()
        if found:
            clone, name, table = found
            self.clones[clone][name] = self._write(table, self.clones[clone][name])
            assert content(self.table(name, clone)) == self.clones[clone][name]

    def optimise_clone(self) -> None:
        found = self._some_clone()
        if found:
            clone, name, table = found
            table.overwrite(table.scan().to_arrow())
            assert content(self.table(name, clone)) == self.clones[clone][name]

    def expire_clone(self) -> None:
        found = self._some_clone()
        if found:
            clone, name, table = found
            table.maintenance.expire_snapshots().older_than(datetime.now() + timedelta(days=1)).commit()
            assert content(self.table(name, clone)) == self.clones[clone][name]

    def forget_clone_table(self) -> None:
        found = self._some_clone()
        if found:
            clone, name, _ = found
            self.lake.catalog.drop_table(clone_name(self.lake, name, pull_request=clone))
            del self.clones[clone][name]

    def _some_clone(self) -> tuple[int, str, Table] | None:
        found = [(clone, name) for clone, tables in self.clones.items() for name in tables]
        if not found:
            return None
        clone, name = self.draw.choice(found)
        return clone, name, self.table(name, clone)

    # --- what the base does ----------------------------------------------------------------------

    def write_base(self) -> None:
        name = self.draw.choice(NAMES)
        self.base[name] = self._write(self.table(name), self.base[name])
        self._base_changed(name)

    def maintain_base(self) -> None:
        """A night's maintenance, a month later: all snapshots but heads and those with a tag, and every file that none of the others names."""
        name, schema = self.draw.choice(NAMES), self.lake.base_schemas[Layer.MART]
        night = Night(self.lake.catalog, schema)
        found = night.one(name, datetime.now(UTC) + timedelta(days=30))
        assert found.skipped == (), found
        self._base_changed(name)

    def _base_changed(self, name: str) -> None:
        assert content(self.table(name)) == self.base[name]
        for clone, tables in self.clones.items():
            if name in tables:
                assert content(self.table(name, clone)) == tables[name], (clone, name)
        self.look()

    def _write(self, table: Table, rows: Rows) -> Rows:
        kind = self.draw.choice(("append", "append", "delete", "overwrite"))
        self.next_id += 10
        new = tuple((self.next_id + number, kind) for number in range(2))
        if kind == "append":
            table.append(rows_of(self.next_id, 2, kind))
            return tuple(sorted((*rows, *new)))
        if kind == "overwrite":
            table.overwrite(rows_of(self.next_id, 2, kind))
            return new
        gone = self.draw.choice(rows)[0] if rows else 0
        table.delete(f"id = {gone}")
        return tuple(row for row in rows if row[0] != gone)


CLONE_STEPS = (World.create, World.create, World.write_clone, World.write_clone, World.optimise_clone, World.expire_clone, World.forget_clone_table, World.drop)
BASE_STEPS = (World.write_base, World.maintain_base, World.maintain_base)


@pytest.mark.timeout(7200)
def test_random_sequences(module_lake: Lake, request: pytest.FixtureRequest) -> None:
    asked = request.config.getoption(SEQUENCES, default=None)
    world = World(module_lake)
    for seed in range(FEW if asked is None else asked):
        world.draw.seed(seed)
        steps = [World.create, *world.draw.choices((*CLONE_STEPS, *BASE_STEPS), k=STEPS - 1)]
        try:
            for step in steps:
                step(world)
                world.check_base()
            world.check_rows(of_all=seed % 20 == 0)
            for clone in list(world.clones):
                remove(module_lake, plan_clone_drop(module_lake, clone))
                del world.clones[clone]
            assert clones_of(module_lake) == []
            world.check_base()
        except BaseException:
            print(f"sequence {seed}: {', '.join(step.__name__ for step in steps)}")
            raise
