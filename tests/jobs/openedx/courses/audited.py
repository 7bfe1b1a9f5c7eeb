"""A process that reads archives under watch: every file, socket or process that Python is asked for is written down.

``python -m tests.jobs.openedx.courses.audited corpus | xml FILE PIPE ADDRESS | read ARCHIVE`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from include.jobs.openedx.courses.refusals import RefusedArchiveError, shown

from .made import course, parsed

WATCHED = ("open", "os.", "socket.", "subprocess.", "shutil.", "tempfile.", "ctypes.", "urllib.", "ftplib.", "http.")
HARMLESS = ("os.putenv",)


def result_of(archive: bytes) -> dict[str, object]:
    """What became of an archive, and the seconds of this process that it took."""
    begin = time.process_time()
    try:
        found = parsed(archive)
    except RefusedArchiveError as error:
        return {"outcome": "refused", "message": str(error), "offset": error.offset, "seconds": time.process_time() - begin}
    return {
        "outcome": "taken",
        "seconds": time.process_time() - begin,
        "quarantined": [line.member for line in found.quarantined],
        "found": [line.found for line in found.quarantined],
        "blocks": [block.xml_path for block in found.blocks],
        "paths": [file.path for file in found.static],
        "texts": [json.dumps(block.xml_attributes)[:2000] + block.raw_xml[:2000] for block in found.blocks],
        "title": found.metadata.title,
    }


def watched(archives: Iterable[tuple[str, bytes]]) -> dict[str, object]:
    """Results by name; ``events`` are those that Python reported meanwhile."""
    listed = list(archives)
    parsed(course(20, malformed=7).archive)  # what is imported late is imported now
    shown("\n")
    events: list[str] = []
    sys.addaudithook(lambda event, args: events.append(f"{event} {args!r:.200}") if event.startswith(WATCHED) and event not in HARMLESS else None)
    results = {name: result_of(archive) for name, archive in listed}
    return {"results": results, "events": list(events)}


def main(what: str, *rest: str) -> dict[str, object]:
    if what == "corpus":
        from .hostile import corpus

        listed = list(corpus())
        found = watched((one.name, one.archive) for one in listed)
        return {**found, "right": {one.name: [one.outcome, one.quarantined] for one in listed}}
    if what == "xml":
        from .attacks import attacked, xml_attacks

        return watched((attack.name, attacked(attack)) for attack in xml_attacks(*rest))
    archive = Path(rest[0]).read_bytes()
    before = peak()
    return {**result_of(archive), "kilobytes": peak(), "kilobytes_before": before}


def peak() -> int:
    """The most memory that this program has had, in kB; ``getrusage`` would count what its parent had when it forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
