"""Text that looks like a course's: words of a few syllables, drawn by frequency, so that it compresses as text does."""

from __future__ import annotations

import numpy as np

_SYLLABLES = (
    "an",
    "be",
    "co",
    "de",
    "er",
    "fi",
    "gra",
    "ho",
    "in",
    "ju",
    "ka",
    "lo",
    "me",
    "no",
    "or",
    "pre",
    "qua",
    "re",
    "sti",
    "tu",
    "ul",
    "ve",
    "wa",
    "xi",
    "yo",
    "ze",
)
_SPECIAL = ("&", "<", "“naïve”", "Δx", "µ", "日本", "'quoted'", '"double"')


def _vocabulary() -> list[str]:
    rng = np.random.default_rng(20)
    return ["".join(_SYLLABLES[place] for place in rng.integers(0, len(_SYLLABLES), 1 + int(rng.integers(1, 4))).tolist()) for _ in range(4000)] + list(
        _SPECIAL
    )


_WORDS = _vocabulary()
_ODDS = 1.0 / np.arange(10, 10 + len(_WORDS))
_CUMULATED = np.cumsum(_ODDS / _ODDS.sum())


class Words:
    """Draws words from a generator of its caller."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def text(self, count: int) -> str:
        """``count`` words with blanks between them; some have characters that XML must escape."""
        places = np.searchsorted(_CUMULATED, self._rng.random(count)).tolist()
        return " ".join([_WORDS[min(place, len(_WORDS) - 1)] for place in places])

    def title(self) -> str:
        """Two to six words."""
        return self.text(int(self._rng.integers(2, 7))).capitalize()
