"""``python -m include.local.data --dsn postgresql://user@host:port --scale 0.05 --seed 7 --day 0``: source databases with invented learners."""

from __future__ import annotations

import argparse
import sys
import time

import psycopg

from include.local.data.generate import GeneratorError, advance, generate


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.local.data", description="Create the source databases and bring them to a day.")
    parser.add_argument("--dsn", required=True, help="the server's maintenance database; its user may create databases")
    parser.add_argument("--scale", type=float, default=0.05, help="1 is about 20,000 learners (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds give equal rows (default: %(default)s)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--day", type=int, default=0, help="0 is two years of history, each day after it adds, changes and deletes (default: %(default)s)")
    when.add_argument("--advance", action="store_true", help="the day after the present one, with the seed and scale the databases were made with")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns 0, or 1 when the databases hold something else or the server does not answer."""
    chosen = _arguments().parse_args(arguments)
    started = time.monotonic()
    try:
        counts = advance(chosen.dsn) if chosen.advance else generate(chosen.dsn, scale=chosen.scale, seed=chosen.seed, day=chosen.day)
    except (GeneratorError, psycopg.OperationalError) as error:
        print(error, file=sys.stderr)
        return 1
    for database, tables in counts.items():
        print(f"{database}: {sum(tables.values()):,} rows in {len(tables)} tables")
        for table, rows in tables.items():
            print(f"  {table:<36}{rows:>10,}")
    print(f"{time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
