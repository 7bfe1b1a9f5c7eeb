"""A course archive the way the system before reads it: opened four times, all members listed each time, whole members in memory, ElementTree.

Written from a description of what it does, defects included: an asset or a course element without children counts as absent, any text makes
``self_paced`` true, the static folder is left out, and the static files' version is a hash over contents alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import mimetypes
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

SKIPPED = ("course.xml", "course", "drafts", "assets", "static")


@dataclass
class FourPasses:
    """What the four functions give."""

    metadata: dict[str, Any] = field(default_factory=dict)
    videos: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)
    signatories: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    static: list[tuple[str, bytes]] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)


def read(path: Path, source_system: str, retrieved_at: str) -> FourPasses:
    """All four passes."""
    found = FourPasses()
    found.metadata = _metadata(path)
    found.videos = _videos(path)
    found.policies, found.signatories = _policies(path)
    found.blocks, found.static, found.manifest = _blocks(path, source_system, retrieved_at)
    return found


def write_static(found: FourPasses, target: IO[bytes]) -> None:
    """The tar.gz of the static files, at the standard library's own level."""
    with tarfile.open(fileobj=target, mode="w:gz") as tar:
        for name, content in found.static:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _root(content: bytes) -> ElementTree.Element:
    tree: ElementTree.ElementTree[Any] = ElementTree.ElementTree()
    tree.parse(io.BytesIO(content))
    root: ElementTree.Element = tree.getroot()
    return root


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo | str) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _course(tar: tarfile.TarFile) -> tuple[str, str, str, str, str]:
    """The archive's folder, and the course's id, number, run and organisation."""
    first = tar.next()
    assert first is not None
    attributes = _root(_content(tar, f"{first.name}/course.xml")).attrib
    org, number, run = attributes["org"], attributes["course"], attributes["url_name"]
    return first.name, f"course-v1:{org}+{number}+{run}", number, run, org


def _metadata(path: Path) -> dict[str, Any]:
    with tarfile.open(path, "r") as tar:
        folder, course_id, number, run, org = _course(tar)
        root = _root(_content(tar, f"{folder}/course/{run}.xml"))
    if not len(root):
        raise ValueError("the course's element has no children")
    names = {"enrollment_start": "enrollment_start", "enrollment_end": "enrollment_end", "course_start": "start", "course_end": "end"}
    found: dict[str, Any] = {column: root.attrib.get(attribute) for column, attribute in names.items()}
    found |= {"instructor_info": root.attrib.get("instructor_info"), "self_paced": bool(root.attrib.get("self_paced", False))}
    return found | {"title": root.attrib.get("display_name"), "course_id": course_id, "course_number": number, "semester": run, "institution": org}


def _videos(path: Path) -> list[dict[str, Any]]:
    found = []
    with tarfile.open(path, "r") as tar:
        folder, course_id, *_ = _course(tar)
        for member in tar.getmembers():
            if member.isdir() or not member.path.startswith(f"{folder}/video/"):
                continue
            root = _root(_content(tar, member))
            asset = root.find("video_asset")
            duration = asset.attrib.get("duration") if asset is not None and len(asset) else "0.0"
            row = {"video_block_id": root.attrib.get("url_name"), "edx_video_id": root.attrib.get("edx_video_id"), "duration": duration}
            found.append(row | {"course_id": course_id})
    return found


def _policies(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    policies, signatories = [], []
    with tarfile.open(path, "r") as tar:
        folder, course_id, _, run, _ = _course(tar)
        for member in tar.getmembers():
            if member.isdir() or not member.path.startswith(f"{folder}/policies/{run}/"):
                continue
            for name, entry in json.loads(_content(tar, member)).items():
                if not name.startswith("course/"):
                    continue
                defaults: dict[str, Any] = {
                    "advanced_modules": [],
                    "discussions_settings": {},
                    "display_coursenumber": "",
                    "self_paced": None,
                    "tabs": [],
                    "tags": [],
                }
                policies.append({"course_id": course_id} | {key: entry.get(key, default) for key, default in defaults.items()})
                for certificate in entry.get("certificates", {}).get("certificates", []):
                    for signatory in certificate.get("signatories", []):
                        signatories.append({**signatory, "course_id": course_id, "certificate_id": certificate.get("id")})
    return policies, signatories


def _blocks(path: Path, source_system: str, retrieved_at: str) -> tuple[list[dict[str, Any]], list[tuple[str, bytes]], dict[str, Any]]:
    blocks, static = [], []
    with tarfile.open(path, "r") as tar:
        _, course_id, *_ = _course(tar)
        for member in tar.getmembers():
            parts = member.path.split("/")
            if member.isdir() or len(parts) < 2 or parts[1] in SKIPPED:
                continue
            if not member.path.endswith(".xml"):
                static.append(("/".join(parts[1:]), _content(tar, member)))
                continue
            try:
                root = _root(_content(tar, member))
            except ElementTree.ParseError:
                continue
            blocks.append(_block(root, parts[1], member.path, course_id, source_system, retrieved_at))
    return blocks, static, _manifest(static)


def _block(root: ElementTree.Element, kind: str, path: str, course_id: str, source_system: str, retrieved_at: str) -> dict[str, Any]:
    get = root.attrib.get
    asset = root.find("video_asset") if kind == "video" else None
    return {
        "course_id": course_id,
        "source_system": source_system,
        "block_id": get("url_name") or Path(path).stem,
        "block_type": kind,
        "block_display_name": get("display_name", ""),
        "xml_attributes": dict(root.attrib),
        "xml_path": path,
        "raw_xml": ElementTree.tostring(root, encoding="unicode"),
        "retrieved_at": retrieved_at,
        "edx_video_id": get("edx_video_id") if kind == "video" else None,
        "duration": asset.attrib.get("duration", "0.0") if asset is not None else None,
        **{name: get(name) if kind == "problem" else None for name in ("max_attempts", "weight", "markdown")},
    }


def _manifest(static: list[tuple[str, bytes]]) -> dict[str, Any]:
    version = hashlib.sha256()
    files = []
    for name, content in sorted(static):
        version.update(content)
        files.append({"path": name, "mime_type": mimetypes.guess_type(name)[0] or "application/octet-stream", "size_bytes": len(content)})
    return {"data_version": version.hexdigest(), "file_count": len(files), "files": files}
