"""The steps of an export, for tests: each call is a process of its own as far as the steps can tell."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.studio import Studio
from include.jobs.openedx.export.record import ExportRecord, Phase
from include.jobs.openedx.export.steps import Exporter
from tests.openedx_service import Service


@dataclass
class Work:
    """The steps with a folder of their own; every call is a process of its own as far as the steps can tell."""

    service: Service
    folder: Path
    exporter: Exporter

    @property
    def landing(self) -> str:
        return str(self.folder / "landing")

    def start(self, course: str, run_key: str = "run") -> ExportRecord:
        async def asked() -> ExportRecord:
            async with self.service.client() as lms, self.service.client(self.service.studio) as studio:
                return await self.exporter.start(Lms(lms), Studio(studio), course, run_key)

        return asyncio.run(asked())

    def look(self, record: ExportRecord) -> ExportRecord:
        return self.service.ask(lambda client: self.exporter.look(Studio(client), record), self.service.studio)

    def wait(self, record: ExportRecord) -> ExportRecord:
        deadline = time.monotonic() + 20
        while (record := self.look(record)).phase is Phase.RUNNING:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return record

    def fetch(self, record: ExportRecord) -> ExportRecord:
        return asyncio.run(self.exporter.fetch(record, self.landing))

    def all(self, course: str, run_key: str = "run") -> ExportRecord:
        return self.fetch(self.wait(self.start(course, run_key)))

    def begun(self, course: str) -> int:
        """How many exports of a run Studio has seen."""
        return [task["course"] for task in self.service.exports()].count(course)

    def files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "landing").rglob("*") if path.is_file())
