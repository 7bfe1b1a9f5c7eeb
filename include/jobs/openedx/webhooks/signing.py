r"""The headers of a delivery.

=========================== ================================================================================
``X-MITLearn-Signature``    hex HMAC-SHA256 of the body, as MIT Learn has been sent so far
``X-MITLearn-Timestamp``    the moment of this attempt, seconds since the epoch
``X-MITLearn-Key-Id``       which key signed
``Idempotency-Key``         the event's id, the same in every attempt
``X-MITLearn-Signature-V2`` hex HMAC-SHA256 of ``v2\n<timestamp>\n<key id>\n<idempotency key>\n<path>\n<body>``
=========================== ================================================================================

The first alone can be replayed for ever, and at another path (a content file's body is also a valid request for its deletion). The
second covers all that gives the body its meaning, so no header can be exchanged without the key. Fields before the body hold no
line break, hence no two deliveries give the same signed text. One secret serves both: a body is JSON and never begins with ``v2``,
so neither signature can stand for the other.
"""

from __future__ import annotations

import hashlib
import hmac

from include.config.services import WebhookKey


def signed_headers(key: WebhookKey, *, timestamp: int, idempotency_key: str, path: str, body: bytes) -> dict[str, str]:
    """All headers of one attempt; ``timestamp`` in seconds since the epoch."""
    secret = key.secret.get_secret_value().encode()
    head = f"v2\n{timestamp}\n{key.id}\n{idempotency_key}\n{path}\n".encode()
    return {
        "Content-Type": "application/json",
        "X-MITLearn-Signature": hmac.new(secret, body, hashlib.sha256).hexdigest(),
        "X-MITLearn-Timestamp": str(timestamp),
        "X-MITLearn-Key-Id": key.id,
        "Idempotency-Key": idempotency_key,
        "X-MITLearn-Signature-V2": hmac.new(secret, head + body, hashlib.sha256).hexdigest(),
    }
