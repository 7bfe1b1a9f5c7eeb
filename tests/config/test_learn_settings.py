"""Where webhooks go and what signs them: right, or refused with a message that shows no secret."""

from __future__ import annotations

import pytest

from include.config.errors import ConfigError
from include.config.services import learn_settings, outbox_dsn, webhook_keys

KEYS = "new=0123456789abcdef old=fedcba9876543210"
QA = {"OL_ENVIRONMENT": "qa"}


def test_settings() -> None:
    found = learn_settings({**QA, "MIT_LEARN_BASE_URL": "https://api.learn.mit.edu/", "MIT_LEARN_WEBHOOK_KEYS": KEYS})
    assert found.base_url == "https://api.learn.mit.edu"
    assert [(key.id, key.secret.get_secret_value()) for key in found.keys] == [("new", "0123456789abcdef"), ("old", "fedcba9876543210")]
    assert "0123456789abcdef" not in repr(found) + str(found) + found.model_dump_json()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://learn.example", "http://learn.localhost/prefix"])
def test_a_laptop_may_use_http(url: str) -> None:
    assert learn_settings({"MIT_LEARN_BASE_URL": url, "MIT_LEARN_WEBHOOK_KEYS": KEYS}).base_url == url


REFUSED = ("", "http://learn.example", "file:///etc/passwd", "ftp://learn.example", "learn.example", "https://", "https://u:p@learn.example")
REFUSED += (
    "https://learn.example?x=1",
    "https://learn.example#x",
    "https://learn.example:port",
    "https://learn.example:99999",
    "https://learn.example@evil.example",
)


@pytest.mark.parametrize("url", REFUSED)
def test_other_addresses_are_refused(url: str) -> None:
    """S-14."""
    with pytest.raises(ConfigError, match=r"MIT_LEARN_BASE_URL: found .*; allowed: an address of https without user, query and fragment"):
        learn_settings({**QA, "MIT_LEARN_BASE_URL": url, "MIT_LEARN_WEBHOOK_KEYS": KEYS})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "new",
        "new=short",
        "=0123456789abcdef",
        "ne w=0123456789abcdef",
        "n:w=0123456789abcdef",
        f"{KEYS} third=0123456789abcdef",
        "a=0123456789abcdef a=0123456789abcdeg",
    ],
)
def test_other_keys_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError, match=r"MIT_LEARN_WEBHOOK_KEYS: found .*; allowed: one or two <id>=<secret>") as caught:
        webhook_keys({"MIT_LEARN_WEBHOOK_KEYS": text})
    assert "0123456789" not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_secret_may_hold_any_character_but_spaces() -> None:
    (key,) = webhook_keys({"MIT_LEARN_WEBHOOK_KEYS": "\n a=b=c/d+e==,;:'\"äöü#\n"})
    assert (key.id, key.secret.get_secret_value()) == ("a", "b=c/d+e==,;:'\"äöü#")


def test_the_outbox_s_address() -> None:
    assert outbox_dsn({"WEBHOOK_OUTBOX_DSN": "postgresql://u@h/webhooks"}) == "postgresql://u@h/webhooks"
    with pytest.raises(ConfigError, match="WEBHOOK_OUTBOX_DSN: found nothing"):
        outbox_dsn({})
    with pytest.raises(ConfigError) as caught:
        outbox_dsn({"WEBHOOK_OUTBOX_DSN": "u:secret@h"})
    assert "secret" not in str(caught.value)
