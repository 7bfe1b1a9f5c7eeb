"""``python -m include.jobs <job> --result PATH --flags``: runs one job and turns its outcome into the job contract's exit code."""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO, cast

from include.config.environments import secret_values
from include.config.errors import ConfigError
from include.contract import PERMANENT_EXIT, TRANSIENT_EXIT, PermanentError, TransientError, log_as_json_lines, write_result
from include.jobs.parent import end_on_term, end_with_stdin
from include.redaction import RedactingStream, register

JOBS = {
    "branches-sweep": "include.jobs.branches.sweep",
    "clone-create": "include.jobs.branches.clone_create",
    "clone-drop": "include.jobs.branches.clone_drop",
    "course-export": "include.jobs.openedx.export.job",
    "course-load": "include.jobs.openedx.courses.load",
    "course-structure": "include.jobs.openedx.documents.job",
    "dbt-build": "include.jobs.warehouse.build",
    "forum-dump": "include.jobs.openedx.forum.dump",
    "forum-load": "include.jobs.openedx.forum.load",
    "maintain-tables": "include.jobs.maintenance.tables",
    "openedx-sweep": "include.jobs.openedx.sweep.job",
    "quarantine": "include.jobs.maintenance.quarantine",
    "repair-pointers": "include.jobs.maintenance.pointers",
    "schema-create": "include.jobs.branches.schema_create",
    "schema-drop": "include.jobs.branches.schema_drop",
    "tracking-logs": "include.jobs.openedx.tracking_logs.job",
    "verify-raw": "include.jobs.raw.verify",
    "webhook-dead-letters": "include.jobs.openedx.webhooks.dead_letters",
    "webhook-deliver": "include.jobs.openedx.webhooks.deliver",
    "webhook-enqueue": "include.jobs.openedx.webhooks.enqueue",
    "webhook-mirror": "include.jobs.openedx.webhooks.mirror",
    "webhook-replay": "include.jobs.openedx.webhooks.replay",
}
log = logging.getLogger("include.jobs")


class _Parser(argparse.ArgumentParser):
    """Wrong flags are a permanent failure; argparse's own exit code would say that another try may help."""

    def error(self, message: str) -> NoReturn:
        self.exit(PERMANENT_EXIT, f"{self.prog}: {message}\n")


def keep_secrets() -> None:
    """From now on nothing that this process prints, logs or returns holds a secret that its environment gave it; tracebacks included."""
    register(secret_values())
    for name in ("stdout", "stderr"):
        stream = RedactingStream(getattr(sys, name))
        atexit.register(stream.finish)
        setattr(sys, name, cast("TextIO", stream))


def main(argv: list[str]) -> int:
    """Runs the job that ``argv`` names; see :mod:`include.contract` for the exit codes."""
    keep_secrets()
    if not argv or argv[0] not in JOBS:
        print(f"job: found {argv[0] if argv else 'nothing'!r}; allowed: {', '.join(sorted(JOBS))}", file=sys.stderr)
        return PERMANENT_EXIT
    log_as_json_lines()
    logging.getLogger("pyiceberg").setLevel(logging.WARNING)  # a line for each access to a file
    module: ModuleType = importlib.import_module(JOBS[argv[0]])
    parser = _Parser(prog=f"python -m include.jobs {argv[0]}", description=module.__doc__)
    parser.add_argument("--result", type=Path, required=True, help="where the JSON result is written")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does: whoever started this job is gone")
    module.add_arguments(parser)
    arguments = parser.parse_args(argv[1:])
    if arguments.end_with_stdin:
        end_with_stdin()
    try:
        result = module.run(arguments)
    except (PermanentError, ConfigError) as error:
        log.error("permanent failure: %s", error)
        return PERMANENT_EXIT
    except TransientError as error:
        log.error("transient failure: %s", error)
        return TRANSIENT_EXIT
    write_result(arguments.result, result)
    return 0


if __name__ == "__main__":
    end_on_term()
    code = main(sys.argv[1:])
    gc.freeze()  # or Python looks for cycles among all that is left, before it ends: half a second with dbt's manifest
    sys.exit(code)
