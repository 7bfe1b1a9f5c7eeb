"""``python -m benchmarks [ID …]``: runs workloads, prints a line for each and writes ``benchmarks/results/<ID>.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.machine import Neighbours, as_json, describe, neighbours
from benchmarks.options import Options
from benchmarks.results import WIDE_SPREAD, Outcome

WORKLOADS = {
    "P1": "benchmarks.p1_parse",
    "P2": "benchmarks.p2_latency",
    "P3": "benchmarks.p3_pods",
    "P4": "benchmarks.p4_warehouse",
    "P5": "benchmarks.p5_tracking_logs",
    "P7": "benchmarks.p7_course_archive",
    "P10": "benchmarks.p10_maintenance",
    "P14": "benchmarks.p14_bson",
    "P15": "benchmarks.p15_clones",
    "P16": "benchmarks.p16_sweep",
    "P17": "benchmarks.p17_fan_out",
    "P18": "benchmarks.p18_loop",
}
NEEDS_CLUSTER = frozenset({"P3"})
RESULTS = Path(__file__).parent / "results"


def noise_text(before: Neighbours, after: Neighbours, outcome: Outcome) -> str:
    """Why absolute figures of this run are worth little, or nothing."""
    reasons = []
    if before.noisy or after.noisy:
        reasons.append(f"{max(before.cores, after.cores):.1f} cores taken by others, load {max(before.load, after.load):.0f}")
    if outcome.spread > WIDE_SPREAD:
        reasons.append(f"repeats differ by {outcome.spread:.0%}")
    return "noisy machine: " + ", ".join(reasons) + "; the ratio decides" if reasons else ""


def run(workload: str, options: Options) -> Outcome:
    """Measures one workload, prints its lines and writes its result file."""
    module = importlib.import_module(WORKLOADS[workload])
    before = neighbours()
    outcome: Outcome = module.measure(options)
    after = neighbours()
    noise = noise_text(before, after, outcome)
    for number, case in enumerate(outcome.cases):
        print(("  " if number else "") + case.line(workload, "" if number else noise), flush=True)
    RESULTS.mkdir(exist_ok=True)
    data = {
        "id": workload,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "neighbours": {"before": as_json(before), "after": as_json(after)},
        "noise": noise,
        "inputs": outcome.inputs,
        "cases": [case.to_json() for case in outcome.cases],
    }
    (RESULTS / f"{workload}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return outcome


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when every workload was measured, whether or not its goal was met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"workloads to run, of {', '.join(WORKLOADS)}; all when none is given")
    parser.add_argument("--repeats", type=int, default=0, help="repeats of each series; the workload's own number when absent")
    parser.add_argument("--cold", action="store_true", help="P18: also the first start on a fresh machine, with the fetch of 550 MB")
    chosen = parser.parse_args(argv)
    unknown = [name for name in chosen.ids if name.upper() not in WORKLOADS]
    if unknown:
        parser.error(f"ID: found {', '.join(unknown)}; allowed: {', '.join(WORKLOADS)}")
    named = [name.upper() for name in chosen.ids]
    for workload in named or list(WORKLOADS):
        if not named and workload in NEEDS_CLUSTER and "KUBECONFIG" not in os.environ:
            print(f"{workload} NOT MEASURED: it needs a cluster (docs/howto/test-on-kubernetes.md), and KUBECONFIG is not set", file=sys.stderr)
            continue
        run(workload, Options(chosen.repeats, chosen.cold))
    return 0


if __name__ == "__main__":
    sys.exit(main())
