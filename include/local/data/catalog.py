"""The invented course catalogue: departments, titles, readable ids and terms, shared by the platforms so that some of their ids are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

DEPARTMENTS = (
    ("14", "Economics"), ("6", "Electrical Engineering and Computer Science"), ("2", "Mechanical Engineering"), ("15", "Management"),
    ("7", "Biology"), ("18", "Mathematics"), ("8", "Physics"), ("11", "Urban Studies and Planning"), ("21H", "History"), ("9", "Brain and Cognitive Sciences"),
)  # fmt: skip
TOPICS = (
    "Household Data", "Signals", "Thermal Machines", "Operations", "Cell Division", "Linear Maps", "Waves", "Housing", "Archives", "Perception",
    "Taxation", "Compilers", "Materials", "Negotiation", "Genomes", "Probability", "Optics", "Transit", "Migration", "Memory",
)  # fmt: skip
FORMS = ("Foundations of {}", "{} in Practice", "Advanced {}", "Reading {}", "{}: A Laboratory Course", "Models of {}", "{} & Society")

# Tag, start and end of the terms that runs are given in.
TERMS = (
    ("2T2024", "2024-05-20", "2024-08-30"),
    ("3T2024", "2024-09-09", "2024-12-20"),
    ("1T2025", "2025-01-27", "2025-05-09"),
    ("2T2025", "2025-05-19", "2025-08-29"),
    ("3T2025", "2025-09-08", "2025-12-19"),
    ("1T2026", "2026-01-26", "2026-05-08"),
    ("2T2026", "2026-05-18", "2026-08-28"),
)


@dataclass(frozen=True)
class Course:
    """One course as every platform would call it."""

    number: str
    title: str
    department: int

    def readable_id(self, organization: str) -> str:
        """``course-v1:<organization>+<number>``."""
        return f"course-v1:{organization}+{self.number}"


def course(index: int) -> Course:
    """The course at a place of the catalogue; the numbers of different places differ."""
    department = index % len(DEPARTMENTS)
    topic = TOPICS[index % len(TOPICS)]
    form = FORMS[(index // len(TOPICS)) % len(FORMS)]
    return Course(f"{DEPARTMENTS[department][0]}.{310 + 3 * index}x", form.format(topic), department)


def term(index: int) -> tuple[str, np.datetime64, np.datetime64]:
    """A term's tag, its first moment and its last day."""
    tag, start, end = TERMS[index]
    return tag, np.datetime64(start, "us"), np.datetime64(end, "us")


def terms_of(rng: np.random.Generator, runs: int) -> list[int]:
    """Which terms a course with so many runs is given in, ascending."""
    drawn: list[int] = rng.choice(len(TERMS), size=min(runs, len(TERMS)), replace=False).tolist()
    return sorted(drawn)


def slug(text: str) -> str:
    """Lower case with hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def blocks(courseware_id: str, kind: str, numbers: Any) -> list[str]:
    """Ids of a run's blocks: ``block-v1:MITxT+14.310x+1T2026+type@problem+block@problem_03``."""
    base = courseware_id.replace("course-v1:", "block-v1:")
    return [f"{base}+type@{kind}+block@{kind}_{number:02d}" for number in numbers]
