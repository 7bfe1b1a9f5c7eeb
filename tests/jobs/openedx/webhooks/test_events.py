"""What is told and how it is signed, down to the byte."""

from __future__ import annotations

import uuid

import pytest
from pydantic import SecretStr

from include.config.services import WebhookKey
from include.contract import PermanentError
from include.jobs.openedx.webhooks.events import content_files_event
from include.jobs.openedx.webhooks.signing import signed_headers

GOOD = {
    "course_id": "course-v1:MITxT+6.00x+1T2026",
    "content_path": "mitxonline/openedx/raw_data/course_xml/course-v1:MITxT+6.00x+1T2026/ab.xml.tar.gz",
    "source": "mitxonline",
    "run_key": "version-1",
}
BODY = (
    b'{"course_id":"course-v1:MITxT+6.00x+1T2026","course_readable_id":"course-v1:MITxT+6.00x+1T2026",'
    b'"content_path":"mitxonline/openedx/raw_data/course_xml/course-v1:MITxT+6.00x+1T2026/ab.xml.tar.gz","source":"mitxonline"}'
)


def test_the_body_is_what_mit_learn_has_been_sent_so_far() -> None:
    """000-17: fields, their order, separators and characters."""
    assert content_files_event(**GOOD).body == BODY
    assert content_files_event(**{**GOOD, "course_id": "course-v1:MITxT+Café+1T2026"}).body.startswith(b'{"course_id":"course-v1:MITxT+Caf\\u00e9+1T2026",')


def test_the_signatures_are_those_of_openssl() -> None:
    """Computed by ``openssl dgst -sha256 -hmac``: over the body, and over the five lines and the body."""
    key = WebhookKey(id="2026-11", secret=SecretStr("0123456789abcdef0123456789abcdef"))
    event = content_files_event(**GOOD)
    assert signed_headers(key, timestamp=1_795_000_000, idempotency_key=str(event.id), path=event.path, body=event.body) == {
        "Content-Type": "application/json",
        "X-MITLearn-Signature": "e4ee67b1999dc3808e82aaaf4d2036abcb4e183087965127efeaf0d8e678ab35",
        "X-MITLearn-Timestamp": "1795000000",
        "X-MITLearn-Key-Id": "2026-11",
        "Idempotency-Key": "183ac70f-43e3-5692-859a-6a93618b35eb",
        "X-MITLearn-Signature-V2": "0f398ae690deaae2ab207d858a81b7896eeb29e52697aeefc13887f4d1dbe116",
    }
    assert "0123456789abcdef" not in repr(key)


def test_an_event_s_id_is_its_run_s_for_ever() -> None:
    """Also of an outbox that was lost and filled again: MIT Learn then knows what it has applied."""
    event = content_files_event(**GOOD)
    assert event.id == uuid.UUID("183ac70f-43e3-5692-859a-6a93618b35eb")
    assert event.id == content_files_event(**{**GOOD, "content_path": "elsewhere"}).id
    others = [{"run_key": "version-2"}, {"source": "xpro"}, {"course_id": "course-v1:MITxT+6.00x+2T2026"}]
    assert len({event.id, *(content_files_event(**{**GOOD, **other}).id for other in others)}) == 4


def test_courses_are_told_apart_by_platform() -> None:
    lanes = {content_files_event(**{**GOOD, "source": source}).lane for source in ("mitxonline", "xpro")}
    assert lanes == {"mitxonline/course-v1:MITxT+6.00x+1T2026", "xpro/course-v1:MITxT+6.00x+1T2026"}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("course_id", "MITxT/6.00x/1T2026", "course_id: found 'MITxT/6.00x/1T2026'"),
        ("course_id", "", "course_id: found ''"),
        ("content_path", "/mitxonline/a", "content_path: found '/mitxonline/a'"),
        ("content_path", "", "content_path: found ''"),
        ("content_path", "a b", "content_path: found 'a b'"),
        ("source", "mitx", "source: found 'mitx': Input should be 'mitxonline', 'xpro' or 'mit_edx'"),
        ("run_key", " ", "run key of the webhook for course-v1:MITxT+6.00x+1T2026: found ' '"),
    ],
)
def test_what_mit_learn_would_not_take_is_refused_early(field: str, value: str, told: str) -> None:
    with pytest.raises(PermanentError) as caught:
        content_files_event(**{**GOOD, field: value})
    assert told in str(caught.value)
