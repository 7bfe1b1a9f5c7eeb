"""What the command line asks of a workload."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """``repeats`` of 0 leaves the number to the workload; ``cold`` also measures the first start of a fresh machine, with its fetch."""

    repeats: int = 0
    cold: bool = False
