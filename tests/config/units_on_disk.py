"""Writes unit folders to try out what loading does with them."""

from __future__ import annotations

from pathlib import Path

GOOD = """\
owner: data-platform
tier: 2
cadence: daily
description: A small application's database.
dbt_staging: stg__demo__app__postgres__
connection:
  name: demo_app_db → s3 data lake
  ids:
    local: 7d2f3c36-53b5-5bd1-9d2b-6f5a2f1a0009
    production: 9a0f7a4e-5f9d-4a6a-8f25-1c8f3e6b0009
table_prefix: raw__demo__app__postgres__
streams:
  - name: users_user
    sync_mode: incremental_deduped_history
    cursor: updated_on
    primary_key: [id]
    columns: [id, email, updated_on]
  - name: courses_course
    sync_mode: full_refresh_overwrite
    columns: [id, title]
"""


def changed(old: str, new: str) -> str:
    """The good unit with one piece of text replaced; the piece must be there exactly once."""
    assert GOOD.count(old) == 1, f"{old!r} stands {GOOD.count(old)} times in the good unit"
    return GOOD.replace(old, new)


def write_unit(root: Path, text: str | bytes, name: str = "demo__app_postgres.yml") -> Path:
    """One Airbyte unit file under ``root``."""
    path = root / "airbyte" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
