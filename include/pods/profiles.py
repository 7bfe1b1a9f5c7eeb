"""Compute sizes by name. Requests are what the scheduler reserves, limits what the kernel enforces.

Memory has no burst: request and limit are equal, so that a pod is never evicted for what it was promised. CPU may burst to a
limit well above its request, because throttling makes a short job long and helps nobody on a node with idle cores.
"""

from __future__ import annotations

from dataclasses import dataclass

from include.config.vocabulary import Profile


@dataclass(frozen=True)
class Compute:
    """What a profile asks for: ``cpu`` in cores (request), ``cpu_limit`` in cores, ``memory`` and ``disk`` in Kubernetes quantities."""

    cpu: str
    cpu_limit: str
    memory: str
    disk: str


PROFILES: dict[Profile, Compute] = {
    Profile.XS: Compute(cpu="100m", cpu_limit="1", memory="256Mi", disk="1Gi"),
    Profile.S: Compute(cpu="250m", cpu_limit="2", memory="1Gi", disk="2Gi"),
    Profile.M: Compute(cpu="1", cpu_limit="4", memory="4Gi", disk="8Gi"),
    Profile.L: Compute(cpu="2", cpu_limit="8", memory="8Gi", disk="32Gi"),
    Profile.XL: Compute(cpu="4", cpu_limit="8", memory="32Gi", disk="100Gi"),
}
