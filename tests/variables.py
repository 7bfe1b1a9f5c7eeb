"""The variables that a test hands to what it starts: those of the session's platform would lead to another lake than the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from s3fs import S3FileSystem

OF_A_PLATFORM = ("AIRFLOW", "_AIRFLOW", "TRINO_", "PYICEBERG_", "OL_", "DBT_", "PGPASSWORD")
OF_THE_MACHINE = ("OL_CACHE",)  # without it, a platform would fetch its engine once more


def without_platform(**extra: str) -> dict[str, str]:
    """This process's variables without those of any platform, plus ``extra``."""
    kept = {name: value for name, value in os.environ.items() if name in OF_THE_MACHINE or not name.startswith(OF_A_PLATFORM)}
    return {**kept, **extra}


def leave_platform(patch: pytest.MonkeyPatch) -> None:
    """Takes the variables of any platform out of this process, until ``patch`` is undone."""
    for name in set(os.environ) - set(without_platform()):
        patch.delenv(name)


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Sets them for the length of a block: a fixture of a wider scope than a module would lead other tests to its lake."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


@contextmanager
def object_store_at(address: str, **extra: str) -> Iterator[None]:
    """AWS's own variables lead to this object store for the length of a block, and fsspec asks it: it would go on with the one of an earlier test."""
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with variables({"AWS_ENDPOINT_URL": address, **keys, **extra}):
        S3FileSystem.clear_instance_cache()
        try:
            yield
        finally:
            S3FileSystem.clear_instance_cache()
