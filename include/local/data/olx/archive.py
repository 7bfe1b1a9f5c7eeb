"""The files of a planned course, and the tar.gz in which Studio exports them; equal plans give equal bytes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from include.local.data.olx import content
from include.local.data.olx.plan import CourseRun, Plan, make_plan, rng_of
from include.local.data.olx.words import Words

BLOCK = 512
EXPORTED = 1_772_409_600.25  # seconds; Studio's file times have fractions, so every member has an extended header before it
ENDINGS = ("pdf", "png", "jpg", "zip", "mp3", "docx")

# Members that cannot be read, by the name of their folder: what is in them, and what is wrong with it.
BROKEN: tuple[tuple[str, bytes, str], ...] = (
    ("problem", b'<problem display_name="cut"><p>the end is mis', "cut"),
    ("html", b"<html>&nbsp;</html>", "undeclared entity"),
    ("vertical", b'<!DOCTYPE v [<!ENTITY x SYSTEM "file:///etc/passwd">]><vertical display_name="&x;"/>', "document type"),
    ("video", b'<video url_name="broken" display_name="\xff\xfe"/>', "not UTF-8"),
    ("sequential", b"", "empty"),
    ("poll", "<poll/>".encode("utf-16"), "UTF-16"),
    ("policies", b'{"course/', "half a document"),
)


@dataclass(frozen=True)
class Extras:
    """What a course holds beside its blocks: at least ``static_bytes`` in static files, drafts, and members that cannot be read.

    ``whole_seconds``: file times without fractions, so that the archive has no extended headers; Studio's have one before every member.
    """

    static_bytes: int = 100_000
    drafts: int = 3
    malformed: int = 0
    whole_seconds: bool = False


@dataclass(frozen=True)
class OlxCourse:
    """A planned course with its files."""

    plan: Plan
    extras: Extras = Extras()
    root: str = "course"

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Content by path below the course's folder."""
        return {**self._course_files(), **self._block_files(), **self._static_files(), **self._draft_files(), **self.malformed}

    @cached_property
    def signatories(self) -> list[dict[str, object]]:
        """Who signs the course's certificates, as the policy has them."""
        return content.signatories_of(self.plan, self.plan.rng("signatories"))

    @cached_property
    def malformed(self) -> dict[str, bytes]:
        """Members that cannot be read, by path."""
        found = {}
        for number in range(self.extras.malformed):
            folder, data, _ = BROKEN[number % len(BROKEN)]
            place = f"policies/{self.plan.run.parts[2]}/broken_{number}.json" if folder == "policies" else f"{folder}/broken_{number}.xml"
            found[place] = data
        return found

    @cached_property
    def archive(self) -> bytes:
        """The tar.gz."""
        packer = zlib.compressobj(6, zlib.DEFLATED, 31)
        parts = tar_parts(self.root, self.files, whole_seconds=self.extras.whole_seconds)
        return b"".join(packer.compress(part) for part in parts) + packer.flush()

    def _course_files(self) -> dict[str, bytes]:
        plan, run = self.plan, self.plan.run.parts[2]
        words = Words(plan.rng("course files"))
        texts = {
            "course.xml": content.course_xml(plan),
            f"course/{run}.xml": content.run_xml(plan),
            f"policies/{run}/policy.json": json.dumps(content.policy(plan, self.signatories), indent=4, sort_keys=True),
            f"policies/{run}/grading_policy.json": json.dumps(content.grading_policy(), indent=4, sort_keys=True),
            "policies/assets.json": json.dumps({}, indent=4),
            "assets/assets.xml": "<assets/>",
            "about/overview.html": f"<section>{words.text(120)}</section>\n",
            "about/short_description.html": words.text(12),
            "info/updates.html": "<ol></ol>\n",
            "tabs/8f3c.html": f"<h1>{words.title()}</h1>\n",
            "tags.csv": "Name,Type,ID\n",
        }
        return {path: text.encode() for path, text in texts.items()}

    def _block_files(self) -> dict[str, bytes]:
        found = {}
        for block in self.plan.blocks:
            words = Words(self.plan.rng(f"text/{block.name}"))
            found[f"{block.kind}/{block.name}.xml"] = content.block_xml(block, words).encode()
            if block.kind == "html":
                found[f"html/{block.name}.html"] = content.html_page(block, words).encode()
        return found

    def _static_files(self) -> dict[str, bytes]:
        words, rng = Words(self.plan.rng("subtitles")), self.plan.rng("static")
        videos = [block for block in self.plan.blocks if block.kind == "video"]
        found = {f"static/{block.name}-en.srt": content.subtitles(words, 20 + len(block.title)).encode() for block in videos}
        found["static/images/course_image.jpg"] = rng.bytes(3_000)
        found["static/data.xml"] = b"<data>not a block, and <never> closed"
        found["static/Übung 1 – Lösung.pdf"] = rng.bytes(2_000)
        left = self.extras.static_bytes - sum(map(len, found.values()))
        number = 0
        while left > 0:
            size = min(left, max(200, int(rng.lognormal(10.5, 1.2))))
            found[f"static/{rng.bytes(6).hex()}_{number}.{ENDINGS[number % len(ENDINGS)]}"] = rng.bytes(size)
            left -= size
            number += 1
        return found

    def _draft_files(self) -> dict[str, bytes]:
        blocks = [block for block in self.plan.blocks if block.kind in ("vertical", "html", "problem")][: self.extras.drafts]
        words = Words(self.plan.rng("drafts"))
        return {f"drafts/{block.kind}/{block.name}.xml": content.block_xml(block, words).encode() for block in blocks}


def olx_course(run: CourseRun, *, seed: int, blocks: int | None = None, version: int = 0, extras: Extras | None = None) -> OlxCourse:
    """The course of a run. Without ``blocks`` it has a size of its own, 40 to 400, mostly some 80."""
    size = blocks or min(400, round(40 + float(rng_of(seed, run.course_id, "size").lognormal(3.7, 0.8))))
    return OlxCourse(make_plan(run, seed=seed, blocks=size, version=version), extras or Extras())


def tar_parts(root: str, files: dict[str, bytes], *, whole_seconds: bool = False) -> Iterator[bytes]:
    """A tar of the files in a folder ``root``, in the order in which ``tarfile`` adds a folder."""
    written: set[str] = set()
    at = 0
    for number, path in enumerate(sorted(files, key=lambda one: one.split("/"))):
        parts = f"{root}/{path}".split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        members: Iterable[tuple[str, bytes, bytes]] = [
            *((folder, b"", b"5") for folder in folders if folder not in written),
            ("/".join(parts), files[path], b"0"),
        ]
        written.update(folders)
        for name, data, kind in members:
            time = int(EXPORTED) + number if whole_seconds else EXPORTED + number / 64
            for part in member_parts(name, data, kind=kind, time=time):
                at += len(part)
                yield part
    yield bytes(2 * BLOCK + -(at + 2 * BLOCK) % (20 * BLOCK))


def member_parts(name: str, data: bytes, *, kind: bytes = b"0", time: float = EXPORTED, size: int | None = None) -> Iterator[bytes]:
    """One member as ``tarfile`` writes it in the pax format: an extended header for what a plain one cannot say (fractions, some names), then it."""
    records = {"mtime": repr(time)} if isinstance(time, float) else {}
    raw = f"{name}/".encode() if kind == b"5" else name.encode()
    if len(raw) > 100 or not raw.isascii():
        records["path"] = name
    extended = b"".join(_record(key, value) for key, value in records.items())
    if extended:
        yield header(b"././@PaxHeader", len(extended), kind=b"x")
        yield extended + bytes(-len(extended) % BLOCK)
    yield header(raw[:100], len(data) if size is None else size, kind=kind, time=int(time))
    yield data
    yield bytes(-len(data) % BLOCK)


def header(name: bytes, size: int, *, kind: bytes = b"0", time: int = 0, link: bytes = b"", magic: bytes = b"ustar\x0000", prefix: bytes = b"") -> bytes:
    """A tar header with a right checksum, whatever it says."""
    fields = (
        name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0%011o\0" % (size, time) + b" " * 8 + kind + link.ljust(100, b"\0")
        + magic.ljust(8, b"\0") + b"root".ljust(32, b"\0") * 2 + b"0000000\0" * 2 + prefix.ljust(167, b"\0")
    )  # fmt: skip
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _record(key: str, value: str) -> bytes:
    """``<length> <key>=<value>`` and a line feed; the length counts its own digits."""
    body = f" {key}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body
