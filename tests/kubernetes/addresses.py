"""Where the services of these tests answer: from variables alone, seen from the test process and from pods."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from s3fs import S3FileSystem

HOW = "See docs/howto/test-on-kubernetes.md"
LOOPBACK = frozenset({"127.0.0.1", "localhost"})


def variable(name: str, meaning: str) -> str:
    """An address that these tests are given. Fails loudly without it: a tier that cannot run must not look as if it had."""
    value = os.environ.get(name, "")
    if not value:
        pytest.fail(f"{name} is not set: it names {meaning}. {HOW}", pytrace=False)
    return value


def host_for_pods() -> str:
    """The address of this machine as pods see it: its loopback is not theirs. An address, not a name, since that is what network policies allow."""
    found = variable("OL_HOST_FOR_PODS", "the IPv4 address under which pods reach this machine's loopback services, for example the bridge of kind")
    try:
        return str(ipaddress.IPv4Address(found))
    except ValueError:
        pytest.fail(f"OL_HOST_FOR_PODS: found {found!r}; allowed: an IPv4 address; for example: 172.18.0.1. {HOW}", pytrace=False)


def seen_from_pods(url: str) -> str:
    """A URL with this machine's loopback replaced by the address that pods know it by."""
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK:
        return url
    before, _, _ = parts.netloc.rpartition(parts.hostname or "")
    after = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{before}{host_for_pods()}{after}").geturl()


@dataclass(frozen=True)
class Service:
    """A service with a login."""

    url: str
    user: str
    password: str


@dataclass(frozen=True)
class ObjectStore:
    """An S3 service with a bucket that tests may write to."""

    endpoint: str
    region: str
    bucket: str
    key: str
    secret: str

    @classmethod
    def from_variables(cls) -> ObjectStore:
        """Fails the test when one is missing."""
        return cls(
            variable("S3_ENDPOINT", "the URL of an S3 service"),
            os.environ.get("S3_REGION") or "us-east-1",
            variable("S3_BUCKET", "a bucket there that tests may write to"),
            variable("S3_ACCESS_KEY_ID", "the key of that bucket"),
            variable("S3_SECRET_ACCESS_KEY", "its secret"),
        )

    def files(self) -> S3FileSystem:
        """The store as a file system, for tests that look."""
        client = {"endpoint_url": self.endpoint, "region_name": self.region}
        return S3FileSystem(key=self.key, secret=self.secret, client_kwargs=client, skip_instance_cache=True, use_listings_cache=False)


@dataclass(frozen=True)
class Trino:
    """A Trino with an Iceberg catalog on that object store, and the database behind the catalog."""

    host: str
    port: int
    user: str
    catalog: str
    catalog_uri: str
    warehouse: str

    @classmethod
    def from_variables(cls) -> Trino:
        """Fails the test when one is missing."""
        return cls(
            variable("TRINO_HOST", "the host of a Trino"),
            int(variable("TRINO_PORT", "the port of that Trino")),
            os.environ.get("TRINO_USER") or "ol",
            variable("TRINO_CATALOG", "an Iceberg catalog there, kept in PostgreSQL, with its tables on the object store"),
            variable("ICEBERG_CATALOG_URI", "the SQLAlchemy address of that catalog's database"),
            variable("ICEBERG_WAREHOUSE", "where that catalog puts tables"),
        )

    @property
    def host_in_pods(self) -> str:
        """The host as pods see it."""
        return host_for_pods() if self.host in LOOPBACK else self.host
