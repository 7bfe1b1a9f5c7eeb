"""``python -m include.local``: start, stop and look at the platform on this machine."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from include.config.errors import ConfigError
from include.local.fetch import FetchError
from include.local.paths import Paths
from include.local.platform import ALL, Part, Platform
from include.local.programs import ServiceError


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _exports(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _start(paths: Paths, parts: tuple[Part, ...]) -> Platform:
    begin = time.monotonic()
    platform = Platform(paths, parts)
    seconds = platform.start()
    answered = ", ".join(f"{name} {passed:.1f}" for name, passed in sorted(seconds.items(), key=lambda item: item[1]))
    _say(f"ready after {time.monotonic() - begin:.1f} s ({answered}); logs in {platform.paths.logs}")
    return platform


def up(paths: Paths) -> None:
    """Start everything in the background."""
    platform = _start(paths, ALL)
    user, password = platform.airflow_login
    _say(f"Airflow  {platform.airflow_url}  (user {user}, password {password})")
    _say(f"Trino    http://{platform.trino.host}:{platform.trino.port}  (any user; variables for clients: make lake)")
    _say("stop with: make down")


def lake(paths: Paths) -> None:
    """Start Trino and its catalog in the background and print the variables that clients need, as shell commands."""
    sys.stdout.write(_exports(_start(paths, ("lake",)).lake_environment()))


def env(paths: Paths) -> None:
    """Print the variables that the running platform gives its own programs, as shell commands; for example for ``airflow dags test``."""
    sys.stdout.write(_exports(Platform(paths).environment()))


def down(paths: Paths) -> None:
    """Stop everything that runs."""
    stopped = Platform(paths).stop()
    _say(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def clean(paths: Paths) -> None:
    """Stop everything and delete the platform's data; what was fetched from Maven Central stays."""
    Platform(paths).clean()
    _say(f"deleted {paths.state}")


def status(paths: Paths) -> None:
    """Show what runs. Exit code 1 when something that was started has ended by itself."""
    records = Platform(paths).processes.records()
    for record in records:
        _say(f"{record.name:<22} {'running' if record.alive else 'ENDED':<8} process {record.pid:<8} {record.log}")
    if not records:
        _say("nothing is running")
    if not all(record.alive for record in records):
        raise SystemExit(1)


DOMAINS = ("lane", "openedx")


def demo(paths: Paths, domain: str, scale: float | None = None) -> int:
    """Run a domain once: the lane (sources, syncs, models, checked reports), or Open edX. Ends by itself; what it started ends with it."""
    # these bring pyarrow and Trino's client, which the other commands need not wait for
    if domain == "openedx":
        from include.local import openedx_demo

        return openedx_demo.demo(scale or openedx_demo.SCALE, paths)
    from include.local import demo as lane

    return lane.demo(scale or lane.SCALE, paths)


COMMANDS: dict[str, Callable[[Paths], None]] = {function.__name__: function for function in (up, lake, env, down, clean, status)}


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit code 1 with a message for what a user can mend, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    parser.add_argument("--state", type=Path, default=Paths().state, help="the folder that holds this platform's data (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        commands.add_parser(name, help=function.__doc__)
    scaled = commands.add_parser("demo", help=demo.__doc__)
    scaled.add_argument("--scale", type=float, help="size of the sources when they are made; 1 is about 20,000 learners (default: 0.1)")
    scaled.add_argument("--domain", choices=DOMAINS, default="lane", help="what is run (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    paths = Paths(state=chosen.state.resolve())
    try:
        if chosen.command == "demo":
            return demo(paths, chosen.domain, chosen.scale)
        COMMANDS[chosen.command](paths)
    except (ServiceError, FetchError, ConfigError) as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
