"""A stand-in for Google Cloud Storage that speaks its JSON API over a socket: listings in pages, metadata, media with ranges, and OAuth for service accounts.

What is asked for is answered as Google's reference says, errors included; ``faults`` are answered first. Tokens are given for assertions that the service
account's own key has signed, and only with one of them is anything told.
"""

from __future__ import annotations

import gzip
import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

PAGE = 3
EMAIL = "platform@project.iam.gserviceaccount.com"
AUDIENCE = "https://oauth2.googleapis.com/token"  # that of assertions, wherever they are sent
WRITTEN = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)


@dataclass
class StoredObject:
    """An object's bytes as they lie there; every write gives it a new generation."""

    content: bytes
    generation: int
    encoding: str = ""
    updated: datetime = WRITTEN


@dataclass
class Gcs:
    """The store: buckets of objects, who may read them, what is answered instead of the next requests, and what was asked for."""

    buckets: dict[str, dict[str, StoredObject]]
    faults: list[tuple[int, str]] = field(default_factory=list)
    forbidden: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    address: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def put(self, url: str, content: bytes, encoding: str = "") -> None:
        """Writes ``gs://bucket/name``."""
        bucket, _, name = url.removeprefix("gs://").partition("/")
        kept = self.buckets[bucket].get(name)
        self.buckets[bucket][name] = StoredObject(content, kept.generation + 1 if kept else 1, encoding)

    def credentials(self, key: rsa.RSAPrivateKey | None = None) -> str:
        """The file that Google gives for a service account; with ``key`` one that was signed for somebody else."""
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = (key or self.key).private_bytes(*form).decode()
        account = {"type": "service_account", "project_id": "project", "client_email": EMAIL, "token_uri": f"{self.address}/token"}
        return json.dumps({**account, "private_key_id": "1", "private_key": pem})

    def token(self, form: dict[str, list[str]]) -> dict[str, Any] | None:
        """A token for an assertion of the service account, or nothing."""
        public = self.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        try:
            claims = jwt.decode(form["assertion"][0], certs=public, audience=AUDIENCE)
        except ValueError:
            return None
        if claims["iss"] != EMAIL or claims["scope"] != "https://www.googleapis.com/auth/devstorage.read_only":
            return None
        token = secrets.token_hex(16)
        self.tokens.add(token)
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def metadata(self, bucket: str, name: str) -> dict[str, Any]:
        """The object's resource."""
        found = self.buckets[bucket][name]
        moment = found.updated.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        facts = {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(found.content)), "updated": moment, "timeCreated": moment}
        return {**facts, "generation": str(found.generation), "metageneration": "1", **({"contentEncoding": found.encoding} if found.encoding else {})}

    def listing(self, bucket: str, prefix: str, delimiter: str, after: str, most: int) -> dict[str, Any]:
        """A page of objects and, with a delimiter, of the prefixes below; ``after`` is the last entry of the page before."""
        entries: dict[str, dict[str, Any] | None] = {}
        for name in self.buckets[bucket]:
            inside, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if name.startswith(prefix):
                entries |= {prefix + inside + found: None} if found else {name: self.metadata(bucket, name)}
        left = sorted(entry for entry in entries if entry > after)
        page = left[: min(most, PAGE)]
        told: dict[str, Any] = {"kind": "storage#objects", "prefixes": [one for one in page if entries[one] is None]}
        told["items"] = [entries[one] for one in page if entries[one] is not None]
        return {**told, **({"nextPageToken": page[-1]} if len(left) > len(page) else {})}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, gcs: Gcs, *args: Any) -> None:
        self.gcs = gcs
        super().__init__(*args)

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        token = self.gcs.token(form)
        self._answer(200 if token else 400, json.dumps(token or {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}).encode())

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        _, bucket, *rest = url.path.removeprefix("/download").removeprefix("/storage/v1").strip("/").split("/")
        self.gcs.asked[url.path] += 1
        name = unquote(rest[1]) if len(rest) > 1 else ""
        if self.gcs.faults:
            self._refuse(*self.gcs.faults.pop(0))
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.gcs.tokens:
            known = "Authorization" in self.headers
            self._refuse(401, "Invalid Credentials" if known else "Anonymous caller does not have storage.objects.list access to the bucket.")
        elif bucket in self.gcs.forbidden:
            self._refuse(403, f"{EMAIL} does not have storage.objects.list access to the Google Cloud Storage bucket.")
        elif bucket not in self.gcs.buckets:
            self._refuse(404, "The specified bucket does not exist.")
        elif not rest:
            self._answer(200, json.dumps({"kind": "storage#bucket", "name": bucket}).encode())
        elif not name:
            page = (asked.get("prefix", ""), asked.get("delimiter", ""), asked.get("pageToken", ""), int(asked.get("maxResults", 1000)))
            packed = "gzip" in self.headers.get("Accept-Encoding", "")  # Google may do so, with whatever it tells in JSON
            listing = json.dumps(self.gcs.listing(bucket, *page)).encode()
            self._answer(200, gzip.compress(listing) if packed else listing, **({"Content-Encoding": "gzip"} if packed else {}))
        elif name not in self.gcs.buckets[bucket]:
            self._refuse(404, f"No such object: {bucket}/{name}")
        elif asked.get("alt") == "media":
            self._media(self.gcs.buckets[bucket][name])
        else:
            self._answer(200, json.dumps(self.gcs.metadata(bucket, name)).encode())

    def _media(self, found: StoredObject) -> None:
        """The bytes, or a range of them. What lies there as gzip is told to who takes gzip, and to others unpacked, then always whole."""
        if found.encoding and "gzip" not in self.headers.get("Accept-Encoding", ""):
            self._answer(200, gzip.decompress(found.content))
            return
        extra = {"Content-Encoding": found.encoding} if found.encoding else {}
        if "Range" not in self.headers:
            self._answer(200, found.content, **extra)
            return
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last or len(found.content)), len(found.content) - 1)
        if begin > end:
            self._refuse(416, "Requested range not satisfiable")
            return
        self._answer(206, found.content[begin : end + 1], **extra, **{"Content-Range": f"bytes {begin}-{end}/{len(found.content)}"})

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, json.dumps({"error": {"code": status, "message": message}}).encode())

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status, HTTPStatus(status).phrase)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def gcs_server(*buckets: str) -> Iterator[Gcs]:
    """A store with these buckets, for as long as the block lasts."""
    gcs = Gcs({bucket: {} for bucket in buckets})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, gcs))
    gcs.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield gcs
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
