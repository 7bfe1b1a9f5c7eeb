"""P7: a course archive of 9.7 MB and 3,820 blocks, read once, beside four passes; and 3,500 courses on two cores.

Ours yields everything that an archive holds: metadata, videos, blocks, policies, signatories, the manifest with a hash for each file, and the tar.gz of
the static files, all from one pass. The peer opens and lists the archive four times and writes its tar.gz of fewer files. The limit inflates the same file
and parses the same XML, and does nothing else. The case ``studio`` is the same course with an extended header before every member, as Studio writes it.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
from isal import isal_zlib
from lxml import etree

from benchmarks.options import Options
from benchmarks.peers import four_passes
from benchmarks.results import Case, Goal, Outcome, Series, alternate, timed
from include.jobs.openedx.courses.extract import extract
from include.jobs.openedx.courses.rows import Course, CourseKey
from include.local.data.olx.archive import Extras, OlxCourse, olx_course
from include.local.data.olx.plan import CourseRun

SEED, BLOCKS, STATIC_BYTES = 7, 3_820, 9_350_000
REPEATS = 7
GOAL = Goal(seconds=0.045, ratio=12)
COURSES, DISTINCT, CORES = 3_500, 50, 2
ALL_COURSES = Goal(seconds=120)
RETRIEVED = "2026-03-02T06:00:00+00:00"
SYSTEM = "mitxonline"
RUN = CourseRun("course-v1:MITxT+14.310x+1T2026", "Foundations of Household Data", "2026-01-26T00:00:00Z", "2026-05-08T00:00:00Z", self_paced=True)


def measure(options: Options) -> Outcome:
    """The one large course, then all courses."""
    plain, studio = (olx_course(RUN, seed=SEED, blocks=BLOCKS, extras=Extras(STATIC_BYTES, whole_seconds=whole)) for whole in (True, False))
    inputs = {"seed": SEED, "blocks": BLOCKS, "files": len(plain.files), "bytes": len(plain.archive), "courses": COURSES, "distinct": DISTINCT}
    repeats = options.repeats or REPEATS
    with tempfile.TemporaryDirectory(prefix="ol-bench-") as folder:
        return Outcome((_one(plain, Path(folder), repeats), _one(studio, Path(folder), repeats, "studio"), _all(Path(folder))), inputs)


def _one(large: OlxCourse, folder: Path, repeats: int, name: str = "") -> Case:
    path = folder / "large.tar.gz"
    path.write_bytes(large.archive)
    documents = [data for name, data in large.files.items() if name.endswith(".xml") and not name.startswith("static/")]
    inflated = _assert_equal(_ours(path), _peer(path))
    takers: dict[str, Callable[[], Any]] = {"ours": lambda: _ours(path), "peer": lambda: _peer(path), "limit": lambda: _limit(path, documents)}
    series = alternate(repeats, {name: timed(taker) for name, taker in takers.items()})
    processor = alternate(3, {name: timed(taker, time.process_time) for name, taker in takers.items()})
    cpu = {name: min(seconds) for name, seconds in processor.items()}
    size = f"{len(large.archive) / 1e6:.1f} MB inflating to {inflated / 1e6:.1f} MB, {BLOCKS} blocks in {len(large.files)} files"
    notes = (size, f"processor: ours {cpu['ours']:.3f}s, peer {cpu['peer']:.3f}s, limit {cpu['limit']:.3f}s")
    ours = Series(series["ours"], "one pass, static tar.gz included", details={"processor_seconds": cpu})
    return Case(ours, Series(series["peer"], "four passes and a tar.gz"), Series(series["limit"], "inflate and parse"), None if name else GOAL, name, notes)


def _ours(path: Path, key: CourseKey | None = None) -> tuple[Course, io.BytesIO]:
    static = io.BytesIO()
    with path.open("rb") as stream:
        course = extract(stream, source=path.name, key=key or CourseKey.parse(RUN.course_id), deployment=SYSTEM, retrieved_at=RETRIEVED, static=static)
    return course, static


def _peer(path: Path) -> four_passes.FourPasses:
    found = four_passes.read(path, SYSTEM, RETRIEVED)
    four_passes.write_static(found, io.BytesIO())
    return found


def _limit(path: Path, documents: list[bytes]) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, collect_ids=False)
    inflater = isal_zlib.decompressobj(31)
    data = path.read_bytes()
    for at in range(0, len(data), 1 << 18):
        inflater.decompress(data[at : at + (1 << 18)])
    for document in documents:
        etree.fromstring(document, parser)


def _assert_equal(ours: tuple[Course, io.BytesIO], peer: four_passes.FourPasses) -> int:
    """Both found the same wherever the peer is right; the inflated size in bytes. Raises ``AssertionError``."""
    course = ours[0]
    assert msgspec.structs.asdict(course.metadata) == peer.metadata
    assert not course.quarantined
    durations = {video.video_block_id: video.duration for video in course.videos}
    assert len(durations) == len(peer.videos)
    wrong = 0
    for row in peer.videos:
        mine = durations[row["video_block_id"]]
        wrong += mine != row["duration"]
        assert mine == row["duration"] or row["duration"] == "0.0", "only an asset without children, or none, is another"
    assert wrong > 0, "the archive has assets without children"
    names = ("course_id", "advanced_modules", "discussions_settings", "display_coursenumber", "self_paced", "tabs", "tags")
    assert [{name: getattr(policy, name) for name in names} for policy in course.policies] == peer.policies
    assert [one.line() | {"certificate_id": int(one.certificate_id or 0)} for one in course.signatories] == peer.signatories
    assert len(course.blocks) == len(peer.blocks) == BLOCKS
    for block, row in zip(course.blocks, peer.blocks, strict=True):
        fields = msgspec.structs.asdict(block)
        assert ElementTree.canonicalize(fields.pop("raw_xml")) == ElementTree.canonicalize(row.pop("raw_xml"))
        assert fields == row
    listed = {file.path: (file.mime_type, file.size_bytes) for file in course.static if not file.path.startswith("static/")}
    assert listed == {file["path"]: (file["mime_type"], file["size_bytes"]) for file in peer.manifest["files"]}
    return course.inflated_bytes


def _all(folder: Path) -> Case:
    """Sizes as courses have them: mostly some 250 blocks, from 10 to 4,000; every distinct archive is read as often as the others."""
    rng = np.random.default_rng(SEED)
    sizes = np.clip(rng.lognormal(5.5, 1.0, DISTINCT), 10, 4_000).astype(int).tolist()
    runs = [CourseRun(f"course-v1:MITxT+{number}.1x+1T2026", f"Course {number}") for number in range(DISTINCT)]
    jobs = []
    total = 0
    for run, blocks in zip(runs, sizes, strict=True):
        made = olx_course(run, seed=SEED, blocks=blocks, extras=Extras(1_800 * blocks))
        path = folder / f"{run.parts[1]}.tar.gz"
        path.write_bytes(made.archive)
        total += len(made.archive)
        jobs += [(path, run.course_id, blocks)] * (COURSES // DISTINCT)
    begin = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(CORES) as pool:
        found = sum(pool.imap_unordered(_blocks_of, jobs, chunksize=10))
    seconds = time.perf_counter() - begin
    assert found == sum(blocks for _, _, blocks in jobs), "a block was lost"
    note = f"{COURSES} courses of {min(sizes)} to {max(sizes)} blocks, {found} in all, {total * COURSES / DISTINCT / 1e6:.0f} MB"
    return Case(Series((seconds,), note), goal=ALL_COURSES, name="all", notes=(note, f"{seconds / COURSES * CORES * 1000:.1f} ms a course and core"))


def _blocks_of(job: tuple[Path, str, int]) -> int:
    path, course_id, _ = job
    return len(_ours(path, CourseKey.parse(course_id))[0].blocks)
