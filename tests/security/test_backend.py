"""Airflow's secrets backend against real HTTP servers that are down, slow, refuse, fail or have a new value; the same for both sources."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import secret_sources
from airflow.sdk import Connection
from airflow.sdk._shared.secrets_masker import _secrets_masker, redact
from airflow.sdk.exceptions import AirflowNotFoundException
from platform_secrets import PlatformSecrets
from secret_masking import forms
from secret_sources import SecretsDeniedError, SecretsUnavailableError

from tests.security.secret_servers import ADMIN, AwsServer, KubernetesServer

AIRBYTE = {"conn_type": "airbyte", "host": "https://airbyte.test", "login": "client", "password": "Zq7-first-value", "extra": {"token": "Zq7-in-the-extra"}}
Server = AwsServer | KubernetesServer


class Patch(pytest.MonkeyPatch):
    """Environment variables and a folder for files."""

    folder: Path


@pytest.fixture(scope="module", params=[AwsServer, KubernetesServer], ids=["aws", "kubernetes"])
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    server: Server = request.param()
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    """With one connection in location ``platform`` and one variable in ``shared``, all faults off."""
    running.delay, running.failing, running.allowed = 0.0, 0, {ADMIN: ""}
    running.put("platform", "connections", "airbyte", json.dumps(AIRBYTE))
    running.put("shared", "variables", "webhook", json.dumps({"colour": "Zq7-in-a-variable"}))
    running.requests.clear()
    return running


@pytest.fixture
def patch(tmp_path: Path) -> Iterator[Patch]:
    with Patch.context() as patch:
        found: Any = patch
        found.folder = tmp_path
        patch.setattr(_secrets_masker(), "secret_mask_adapter", forms)  # [logging] secret_mask_adapter
        yield found
    secret_sources._stores.clear()


def backend(server: Server, patch: Patch, *, identity: str = ADMIN, **settings: Any) -> PlatformSecrets:
    secret_sources._stores.clear()
    return again(server, patch, identity=identity, **settings)


def again(server: Server, patch: Patch, *, identity: str = ADMIN, **settings: Any) -> PlatformSecrets:
    """Another backend of the same process, as Airflow makes them."""
    made = PlatformSecrets(server.source, server.root, **{"locations": "platform,shared", "timeout_seconds": 30, **settings, **server.options(patch, identity)})
    made._set_connection_class(Connection)
    return made


def later(seconds: float, patch: pytest.MonkeyPatch) -> None:
    now = time.monotonic
    patch.setattr(secret_sources.time, "monotonic", lambda: now() + seconds)


def test_a_connection_and_a_variable(server: Server, patch: Patch) -> None:
    found = backend(server, patch)
    connection = found.get_connection("airbyte")
    assert (connection.conn_type, connection.login, connection.password) == ("airbyte", "client", "Zq7-first-value")
    assert found.get_variable("webhook") == '{"colour": "Zq7-in-a-variable"}'
    assert found.get_connection("nobody") is None
    assert found.get_config("core/fernet_key") is None


@pytest.mark.parametrize("key", ["", "a b", "a,b=c", "../openedx/connections/x", "a" * 201])
def test_what_is_no_id_is_asked_of_nobody(key: str, server: Server, patch: Patch) -> None:
    assert backend(server, patch).get_connection(key) is None
    assert server.requests == []


def test_values_are_masked_in_all_forms_whatever_their_names(server: Server, patch: Patch) -> None:
    server.put("platform", "connections", "special", "http://user:p%40ss%2FZq7%27word@host/")
    found = backend(server, patch)
    found.get_connection("airbyte")
    found.get_connection("special")
    found.get_variable("webhook")
    text = "Zq7-first-value Zq7-in-the-extra Zq7-in-a-variable p@ss/Zq7'word p%40ss%2FZq7%27word p@ss/Zq7''word"
    assert redact(text) == "*** *** *** *** *** ***"


def test_one_request_serves_until_it_is_old(server: Server, patch: Patch) -> None:
    found = backend(server, patch, cache_seconds=300)
    for _ in range(5):
        assert again(server, patch, cache_seconds=300).get_connection("airbyte").password == "Zq7-first-value"
    assert len(server.requests) == 1
    later(301, patch)
    found.get_connection("airbyte")
    assert len(server.requests) == 2


def test_a_new_value_is_seen_without_a_restart(server: Server, patch: Patch) -> None:
    found = backend(server, patch, cache_seconds=900)
    assert found.get_connection("airbyte").password == "Zq7-first-value"
    server.put("platform", "connections", "airbyte", json.dumps({**AIRBYTE, "password": "Zq7-second-value"}))
    later(901, patch)
    assert found.get_connection("airbyte").password == "Zq7-second-value"
    assert redact("Zq7-second-value") == "***"


def test_a_secret_that_is_made_later_is_found_within_a_minute(server: Server, patch: Patch) -> None:
    found = backend(server, patch, cache_seconds=900)
    assert found.get_connection("late") is None
    server.put("platform", "connections", "late", json.dumps(AIRBYTE))
    assert found.get_connection("late") is None
    later(61, patch)
    assert found.get_connection("late") is not None


@pytest.mark.parametrize("fault", ["refused", "failing"])
def test_an_outage_shorter_than_a_quarter_of_an_hour_is_not_felt_by_who_knows_the_value(fault: str, server: Server, patch: Patch) -> None:
    found = backend(server, patch, cache_seconds=60)
    found.get_connection("airbyte")
    with broken(server, fault):
        later(600, patch)
        assert found.get_connection("airbyte").password == "Zq7-first-value"
        later(301, patch)  # 901 in all
        with pytest.raises(SecretsUnavailableError, match="connection airbyte of platform cannot be read"):
            found.get_connection("airbyte")


class broken:  # noqa: N801 - reads as a block
    """The source is down in one way."""

    def __init__(self, server: Server, fault: str) -> None:
        self.server, self.context = server, server.down() if fault == "refused" else None

    def __enter__(self) -> None:
        if self.context:
            self.context.__enter__()
        else:
            self.server.failing = 500

    def __exit__(self, *error: Any) -> None:
        self.server.failing = 0
        if self.context:
            self.context.__exit__(*error)


@pytest.mark.parametrize("fault", ["refused", "failing"])
def test_a_source_that_is_down_is_named_and_not_taken_for_one_without_the_secret(fault: str, server: Server, patch: Patch) -> None:
    found = backend(server, patch)
    with broken(server, fault):
        started = time.monotonic()
        with pytest.raises(SecretsUnavailableError, match=r"(AWS Secrets Manager \(http|Kubernetes).*is unavailable.*connection airbyte of platform"):
            found.get_connection("airbyte")
        assert time.monotonic() - started < 30
    assert found.get_connection("airbyte").password == "Zq7-first-value", "the next look finds it again"


class Interrupted:
    """A store's lock, before which the thread that asked is interrupted for a moment, as happens on a busy machine."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.5)
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("fault", ["refused", "failing"])
def test_who_asks_after_a_failure_is_not_told_that_one(fault: str, server: Server, patch: Patch) -> None:
    found: Any = backend(server, patch)
    found._store._lock = Interrupted()
    with broken(server, fault), pytest.raises(SecretsUnavailableError):
        found.get_connection("airbyte")
    assert found.get_connection("airbyte").password == "Zq7-first-value"


def test_slow_is_waited_for_and_asked_once(server: Server, patch: Patch) -> None:
    server.delay = 1.0
    found = backend(server, patch, timeout_seconds=10)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(found.get_connection("airbyte").password)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["Zq7-first-value"] * 8
    assert len(server.requests) == 1


def test_too_slow_is_down(server: Server, patch: Patch) -> None:
    server.delay = 8.0
    found = backend(server, patch, timeout_seconds=0.5)
    started = time.monotonic()
    with pytest.raises(SecretsUnavailableError, match=r"no answer within 0\.5 s|[Tt]imed? ?out"):
        found.get_connection("airbyte")
    assert time.monotonic() - started < 7


def test_a_request_that_was_given_up_is_joined_by_nobody(server: Server, patch: Patch) -> None:
    found = backend(server, patch, timeout_seconds=2)
    server.delay = 8.0
    with pytest.raises(SecretsUnavailableError):
        found.get_connection("airbyte")
    server.delay = 0.0
    found._store.timeout = 60  # the same store: only the request that was given up had to end soon
    assert again(server, patch, timeout_seconds=2).get_connection("airbyte").password == "Zq7-first-value"


def test_an_identity_reads_below_its_own_locations_alone(server: Server, patch: Patch) -> None:
    server.put("openedx", "connections", "forum", json.dumps(AIRBYTE))
    separator = {"aws": "/", "kubernetes": "-"}[server.source]
    server.allowed["worker-openedx"] = f"{server.root}{separator}openedx"
    assert backend(server, patch, identity="worker-openedx", locations="openedx").get_connection("forum") is not None
    with pytest.raises(SecretsDeniedError, match=r"refuses .*platform.*; see what this pod's identity may"):
        backend(server, patch, identity="worker-openedx", locations="platform").get_connection("airbyte")
    with pytest.raises(SecretsDeniedError):
        backend(server, patch, identity="nobody", locations="openedx").get_connection("forum")


def test_a_right_that_is_taken_away_is_gone_with_the_next_look(server: Server, patch: Patch) -> None:
    found = backend(server, patch, cache_seconds=60)
    found.get_connection("airbyte")
    server.allowed = {}
    later(61, patch)
    with pytest.raises(SecretsDeniedError):
        found.get_connection("airbyte")
    with pytest.raises(SecretsDeniedError):
        found.get_connection("airbyte")


@pytest.mark.parametrize("value", ["{not json", '["a"]', "Zq7-neither-one", '{"password": "Zq7-without-type"}'])
def test_a_value_that_is_no_connection_is_told_without_the_value(value: str, server: Server, patch: Patch) -> None:
    server.put("platform", "connections", "odd", value)
    with pytest.raises(SecretsUnavailableError, match="connection odd is in the secrets of platform, shared but cannot be used") as caught:
        backend(server, patch).get_connection("odd")
    assert "Zq7" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "vault"}, "source: found 'vault'; allowed: aws, kubernetes"),
        ({"source": "aws", "cache_seconds": "901"}, "cache_seconds: found 901; allowed: 0 to 900"),
        ({"source": "aws", "cache_seconds": -1}, "cache_seconds: found -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlatformSecrets(root="ol/test", **settings)


# --- what Airflow makes of it -------------------------------------------------------------------------------------------------------


def asked_as_a_task_does(found: PlatformSecrets, patch: pytest.MonkeyPatch, conn_id: str) -> Connection:
    from airflow.sdk.execution_time import context, supervisor

    class Next:
        """The backend after ours: Airflow's own of environment variables."""

        def get_connection(self, conn_id: str, team_name: str | None = None) -> Connection | None:
            return Connection(conn_id=conn_id, conn_type="http", host="h") if conn_id == "elsewhere" else None

    patch.setattr(supervisor, "ensure_secrets_backend_loaded", lambda: [found, Next()])
    connection: Connection = context._get_connection(conn_id)
    return connection


def test_airflow_passes_our_errors_on_instead_of_asking_the_next(server: Server, patch: Patch) -> None:
    found = backend(server, patch)
    assert asked_as_a_task_does(found, patch, "elsewhere").conn_type == "http"
    with pytest.raises(AirflowNotFoundException):
        asked_as_a_task_does(found, patch, "nobody")
    server.allowed = {}
    with pytest.raises(SecretsDeniedError):
        asked_as_a_task_does(found, patch, "airbyte")
    with server.down(), pytest.raises(SecretsUnavailableError):
        asked_as_a_task_does(backend(server, patch), patch, "elsewhere")
