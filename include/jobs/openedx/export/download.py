"""An export's archive from its address to a file. Memory: one piece at a time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import aiohttp
import fsspec
from yarl import URL

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import CONNECT_SECONDS, LOST
from include.jobs.openedx.api.retries import TRANSIENT, Patience

log = logging.getLogger(__name__)
PIECE = 1 << 20
MOST_BYTES = 8 << 30
READ_SECONDS = 60.0
_BUCKET_HOST = re.compile(r"(?:(?P<bucket>[a-z0-9][a-z0-9.-]+)\.)?s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com\Z")


@dataclass(frozen=True)
class Downloaded:
    """What came: SHA-256 as lower-case hex, bytes, and when the object was written (UTC), where its keeper says."""

    sha256: str
    bytes: int
    modified: datetime | None


def bucket_address(url: str) -> str | None:
    """``s3://bucket/key`` for an address in S3 that carries no signature, to be read with this process's own rights; nothing for any other."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return url
    host = _BUCKET_HOST.match(parts.hostname or "")
    if host is None or {"X-Amz-Signature", "Signature"} & parse_qs(parts.query).keys():
        return None
    path = unquote(parts.path.lstrip("/"))
    return f"s3://{host['bucket']}/{path}" if host["bucket"] else f"s3://{path}"


async def download(url: str, target: Path, patience: Patience) -> Downloaded:
    """The object at ``url`` as the file ``target``; begun anew after a break.

    No token is sent: the address is that of a bucket. Raises ``TransientError`` when patience ran out, also over an object that is not there yet or is no
    gzip file, and ``PermanentError`` for an address that is refused or more than 8 GiB.
    """
    address = bucket_address(url)
    for attempt in range(1, patience.attempts + 1):
        try:
            found = await (asyncio.to_thread(_from_bucket, address, target) if address else _over_http(url, target))
            _check(url, target)
            return found
        except (*LOST, TransientError, OSError) as error:
            reason = f"{type(error).__name__} {error}".strip()
        if attempt < patience.attempts:
            log.warning("%s: %s; again", url, reason)
            await asyncio.sleep(patience.pause(attempt))
    raise TransientError(f"{url}: given up after {patience.attempts} attempts: {reason}")


async def _over_http(url: str, target: Path) -> Downloaded:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    # as S3 reads it, a plus sign in an address is a blank; encoding twice is the same as once
    address = URL(url)
    exact = URL(f"{address.origin()}{quote(unquote(address.raw_path.replace('+', '%2B')), safe='/:~')}", encoded=True).with_query(address.query)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False) as session, session.get(exact) as response:
        if response.status in TRANSIENT | {404, 429}:
            raise TransientError(f"HTTP {response.status}")
        if response.status != 200:
            raise PermanentError(f"{url}: HTTP {response.status} {(await response.text())[:300]}")
        if (response.content_length or 0) > MOST_BYTES:
            raise PermanentError(f"{url}: found {response.content_length} bytes; allowed: at most {MOST_BYTES}")
        sha256, size = await _keep(response.content.iter_chunked(PIECE), target, url)
        # aiohttp notices a body that ends early; this also notices one that nobody announced the length of
        if response.content_length is not None and size != response.content_length:
            raise TransientError(f"found {size} bytes of {response.content_length}")
        return Downloaded(sha256, size, _modified(response.headers.get("Last-Modified")))


async def _keep(pieces: AsyncIterator[bytes], target: Path, url: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        async for piece in pieces:
            digest.update(piece)
            out.write(piece)
            size += len(piece)
            if size > MOST_BYTES:
                raise PermanentError(f"{url}: found more than {MOST_BYTES} bytes; allowed: at most that")
    return digest.hexdigest(), size


def _from_bucket(address: str, target: Path) -> Downloaded:
    """By the object store's own protocol. Raises ``OSError`` for what another attempt may mend."""
    fs, path = fsspec.url_to_fs(address)
    fs.invalidate_cache()
    entry = fs.info(path)
    if entry["size"] > MOST_BYTES:
        raise PermanentError(f"{address}: found {entry['size']} bytes; allowed: at most {MOST_BYTES}")
    digest, size = hashlib.sha256(), 0
    with fs.open(path, "rb", block_size=8 * PIECE, cache_type="readahead") as source, target.open("wb") as out:
        while piece := source.read(PIECE):
            digest.update(piece)
            out.write(piece)
            size += len(piece)
    if size != entry["size"]:
        raise TransientError(f"found {size} bytes of {entry['size']}")
    modified = entry.get("LastModified")
    return Downloaded(digest.hexdigest(), size, modified.astimezone(UTC) if isinstance(modified, datetime) else None)


def _check(url: str, target: Path) -> None:
    with target.open("rb") as stream:
        start = stream.read(2)
    if start != b"\x1f\x8b":
        raise TransientError(f"found a file that begins with {start!r}; allowed: gzip")


def _modified(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
