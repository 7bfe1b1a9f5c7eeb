"""One pass over a course archive: every member is seen once, as it comes out of the inflater, and becomes what it is.

==================================== ==========================================================================================
``course.xml``                       says which course this is; must be the course asked for
``course/<run>.xml``                 the course run's metadata
``<type>/…xml``                      a block; under ``video/`` a video as well
``policies/<run>/*.json``            policy, grading policy and signatories; a static file as well
``drafts/``, ``assets/``, ``course/`` not published, not content, or another run's: counted
everything else, all of ``static/``  a static file
==================================== ==========================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import IO, Any, BinaryIO

import msgspec
from lxml import etree

from include.jobs.openedx.courses.olx import read_xml
from include.jobs.openedx.courses.policies import read_json, read_policy
from include.jobs.openedx.courses.refusals import Limits, MalformedError, Quarantined, RefusedArchiveError, shown
from include.jobs.openedx.courses.rows import Block, Course, CourseKey, Metadata, Policy, Signatory, Video
from include.jobs.openedx.courses.static import StaticTar, data_version
from include.jobs.openedx.courses.tar import ArchiveReader, Member

SKIPPED = ("drafts", "assets", "course")
_SPECIAL = frozenset((*SKIPPED, "static"))
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "", "null", "none")


def extract(stream: BinaryIO, *, source: str, key: CourseKey, deployment: str, retrieved_at: str, static: IO[bytes], limits: Limits | None = None) -> Course:
    """Everything of the archive in ``stream``; its static files go to ``static`` as a tar.gz.

    ``source`` names the archive in messages; ``retrieved_at`` (ISO 8601) is written to every block. Members that cannot be read are in
    ``quarantined`` and nowhere else. Raises :class:`RefusedArchiveError` for an archive that is cut, damaged, hostile or of another course;
    what ``static`` has got by then is worthless.
    """
    limits = limits or Limits()
    reader = ArchiveReader(stream, source, limits)
    tar = StaticTar(static)
    try:
        return _Pass(reader, tar, source=source, key=key, deployment=deployment, retrieved_at=retrieved_at, limits=limits).run()
    finally:
        reader.close()
        tar.release()


class _Pass:
    def __init__(self, reader: ArchiveReader, static: StaticTar, *, source: str, key: CourseKey, deployment: str, retrieved_at: str, limits: Limits) -> None:
        self._reader, self._source, self._key, self._static, self._limits = reader, source, key, static, limits
        self._deployment, self._retrieved_at = deployment, retrieved_at
        self._course_id = str(key)
        self._confirmed = False
        self._attributes: dict[str, str] = {}
        self._self_paced: bool | None = False
        self._videos: list[Video] = []
        self._blocks: list[Block] = []
        self._policies: list[Policy] = []
        self._signatories: list[Signatory] = []
        self._grading: Any = None
        self._quarantined: list[Quarantined] = []
        self._skipped: Counter[str] = Counter()
        self._texts = 0

    def run(self) -> Course:
        root = ""
        for member in self._reader.members():
            name = member.name
            root = root or f"{name.partition('/')[0]}/"
            if not name.startswith(root):
                raise self._refused(f"a member outside the folder {root}", "one folder with the course in it", member)
            if member.clash:
                self._quarantine(member, MalformedError("names that differ by more than letter case", f"the name of {member.clash}"))
            else:
                self._member(member, name[len(root) :])
        if not self._confirmed:
            raise RefusedArchiveError(self._source, f"no {root}course.xml", "a course's archive", offset=self._reader.inflated)
        self._static.close()
        return self._course()

    def _member(self, member: Member, path: str) -> None:
        top, slash, rest = path.partition("/")
        if rest[-4:] == ".xml" and top not in _SPECIAL:
            self._block(member, top)
            return
        if not slash:
            if top == "course.xml":
                self._course_xml(member)
            elif top == "library.xml":
                raise self._refused("a library", "a course's archive", member)
            else:
                self._static.add(path, member.size, self._reader.pieces())
        elif top == "course" and rest == f"{self._key.run}.xml":
            self._with_text(member, self._metadata)
        elif top in SKIPPED:
            self._skipped[top] += 1
        elif top == "policies" and rest.startswith(f"{self._key.run}/") and rest.endswith(".json"):
            self._policy(member, path)
        else:
            self._static.add(path, member.size, self._reader.pieces())

    def _text(self, member: Member) -> bytes:
        """A member that is held in memory. Raises :class:`MalformedError` when it is too long for that."""
        if member.size > self._limits.text_bytes:
            raise MalformedError(f"at most {self._limits.text_bytes} bytes of text", f"{member.size} bytes")
        self._texts += member.size
        if self._texts > self._limits.texts_bytes:
            raise self._refused(f"more than {self._limits.texts_bytes} bytes of XML and JSON", f"at most {self._limits.texts_bytes}", member)
        return self._reader.whole()

    def _with_text(self, member: Member, read: Callable[[bytes], None]) -> None:
        try:
            read(self._text(member))
        except MalformedError as error:
            self._quarantine(member, error)

    def _course_xml(self, member: Member) -> None:
        try:
            root, _ = read_xml(self._text(member))
        except MalformedError as error:
            raise self._refused(error.found, error.reason, member) from error
        found = f"course-v1:{root.get('org')}+{root.get('course')}+{root.get('url_name')}"
        if root.tag != "course" or found != self._course_id:
            raise self._refused(f"<{shown(str(root.tag))}> of {shown(found)}", f"the course asked for, {self._course_id}", member)
        self._confirmed = True

    def _metadata(self, data: bytes) -> None:
        root, _ = read_xml(data)
        self._attributes = {str(name): str(value) for name, value in root.items()}
        self._self_paced = None
        self._self_paced = truth(self._attributes.get("self_paced", "false"))

    def _block(self, member: Member, kind: str) -> None:
        try:
            root, text = read_xml(self._text(member))
        except MalformedError as error:
            self._quarantine(member, error)
            return
        attributes: dict[str, str] = dict(root.items())
        block_id = attributes.get("url_name") or member.name.rpartition("/")[2][:-4]
        title = attributes.get("display_name", "")
        fixed = (self._course_id, self._deployment, block_id, kind, title, attributes, member.name, text, self._retrieved_at)
        if kind == "video":
            edx_id, duration = attributes.get("edx_video_id"), duration_of(root)
            self._videos.append(Video(block_id, edx_id, duration, self._course_id))
            self._blocks.append(Block(*fixed, edx_id, duration))
        elif kind == "problem":
            self._blocks.append(Block(*fixed, None, None, attributes.get("max_attempts"), attributes.get("weight"), attributes.get("markdown")))
        else:
            self._blocks.append(Block(*fixed))

    def _policy(self, member: Member, path: str) -> None:
        try:
            data = self._text(member)
        except MalformedError as error:
            self._quarantine(member, error)
            self._static.add(path, member.size, self._reader.pieces())
            return
        self._static.add(path, member.size, (data,))
        try:
            document = read_json(data)
            if path.endswith("/grading_policy.json"):
                self._grading = document
            else:
                policies, signatories = read_policy(document, self._course_id)
                self._policies.extend(policies)
                self._signatories.extend(signatories)
        except MalformedError as error:
            self._quarantine(member, error)

    def _quarantine(self, member: Member, error: MalformedError) -> None:
        self._quarantined.append(Quarantined(self._source, member.name, member.offset, error.reason, error.found))

    def _refused(self, found: str, allowed: str, member: Member) -> RefusedArchiveError:
        return RefusedArchiveError(self._source, found, allowed, offset=member.offset, member=member.name)

    def _course(self) -> Course:
        get = self._attributes.get
        metadata = Metadata(
            get("enrollment_start"), get("enrollment_end"), get("start"), get("end"), get("instructor_info"), self._self_paced, get("display_name"),
            self._course_id, self._key.number, self._key.run, self._key.org,
        )  # fmt: skip
        policies = [msgspec.structs.replace(policy, grading_policy=self._grading) for policy in self._policies]
        return Course(
            key=self._key,
            archive_sha256=self._reader.sha256,
            metadata=metadata,
            videos=self._videos,
            blocks=self._blocks,
            policies=policies,
            signatories=self._signatories,
            static=self._static.files,
            data_version=data_version(self._static.files),
            quarantined=self._quarantined,
            skipped=dict(self._skipped),
            inflated_bytes=self._reader.inflated,
        )


def truth(text: str) -> bool:
    """An attribute that is true or false, as Open edX writes it, also when it is JSON in an attribute. Raises :class:`MalformedError`."""
    plain = text.strip().strip('"').lower()
    if plain in _TRUE:
        return True
    if plain in _FALSE:
        return False
    raise MalformedError("true or false for self_paced", text)


def duration_of(video: etree._Element) -> str | None:
    """Seconds, as the video's first asset says. An asset without children is one all the same."""
    asset = video.find("video_asset")
    return None if asset is None else asset.get("duration")
