"""One error for every bad piece of configuration: it names the place, what was found, what is allowed, and shows a right form."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of a configuration file.

    ``key`` is the dotted path inside the file, ``found`` what stands there, ``allowed`` what may stand there and
    ``example`` a line that would be accepted (empty when there is none to show).
    """

    file: str
    key: str
    found: str
    allowed: str
    example: str = ""

    def __str__(self) -> str:
        text = f"{self.file}: {self.key}: found {self.found}; allowed: {self.allowed}"
        return f"{text}; for example: {self.example}" if self.example else text


class ConfigError(ValueError):
    """Raised when configuration cannot be used; carries every problem found, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
