"""A server of moto's S3 and Glue, for as long as a block lasts."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.ports import free_port

SERVER = Path(__file__).with_name("glue_server.py")


@contextmanager
def moto(*options: str) -> Iterator[dict[str, str]]:
    """A server of its own, and the properties of a catalog in it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, str(SERVER), str(port), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(address, server)
            boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test").create_bucket(
                Bucket="lake"
            )
            places = {"s3.endpoint": address, "s3.region": "us-east-1", "glue.endpoint": address, "glue.region": "us-east-1"}
            keys = {f"{service}.{name}": "test" for service in ("s3", "glue") for name in ("access-key-id", "secret-access-key")}
            yield {**places, **keys, "type": "glue", "warehouse": "s3://lake/warehouse"}
        finally:
            server.kill()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
        except OSError:
            assert server.poll() is None, "moto ended"
            assert time.monotonic() < deadline, "moto does not answer"
            time.sleep(0.1)
        else:
            return
