"""The public API as Airbyte's own SDK and Airflow's provider use it."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airbyte_api import AirbyteAPI, api, errors, models
from airbyte_harness import CLIENT, ROWS, STREAMS, TOKEN_SECONDS, Client, Service, Shop, wait_until

from include.local.services.tokens import Tokens


@pytest.fixture
def sdk(service: Service) -> AirbyteAPI:
    credentials = models.SchemeClientCredentials(client_id=CLIENT[0], client_secret=CLIENT[1], token_url="v1/applications/token")
    return AirbyteAPI(server_url=service.client.api, security=models.Security(client_credentials=credentials))


@pytest.fixture
def anonymous(service: Service) -> Client:
    return Client(service.client.root)


def problem(answer: httpx.Response, status: int, title: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["title"], answer.json()["status"]) == (status, title, status)
    assert answer.json()["type"].startswith("https://reference.airbyte.com/reference/errors")
    return dict(answer.json())


# --- authorization -------------------------------------------------------------------------------


def test_token_for_form_and_for_json(anonymous: Client) -> None:
    given = {"grant_type": "client_credentials", "client_id": CLIENT[0], "client_secret": CLIENT[1]}
    for answer in (
        anonymous.http.post("/applications/token", data=given),
        anonymous.http.post("/applications/token", json=given),
        anonymous.http.post("/applications/token", json={"client_id": CLIENT[0], "client_secret": CLIENT[1], "grant-type": "client_credentials"}),
    ):
        assert answer.status_code == 200
        token = answer.json()
        assert (token["token_type"], token["expires_in"]) == ("Bearer", TOKEN_SECONDS)
        assert anonymous.http.get("/jobs", headers={"Authorization": f"Bearer {token['access_token']}"}).status_code == 200


def test_wrong_credentials_get_no_token(anonymous: Client) -> None:
    problem(anonymous.http.post("/applications/token", data={"client_id": CLIENT[0], "client_secret": "wrong"}), 401, "invalid-api-key")
    problem(anonymous.http.post("/applications/token", data={}), 401, "invalid-api-key")
    other_grant = {"grant_type": "password", "client_id": CLIENT[0], "client_secret": CLIENT[1]}
    problem(anonymous.http.post("/applications/token", data=other_grant), 422, "unprocessable-entity")


def test_missing_foreign_and_expired_tokens_are_refused(anonymous: Client) -> None:
    tokens = Tokens(*CLIENT, seconds=900)
    refused = ["", "nonsense", "a.b.c", Tokens(CLIENT[0], "other secret").issue(), tokens.issue(now=time.time() - 901), tokens.issue()[:-2], "é.ü.ö"]
    for token in refused:
        for path in ("/jobs", "/jobs/1", "/connections", "/workspaces"):
            headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
            problem(anonymous.http.get(path, headers=headers), 401, "invalid-api-key")
    assert anonymous.http.get("/jobs", headers={"Authorization": f"Basic {tokens.issue()}"}).status_code == 401
    assert anonymous.http.get("/jobs", headers={"Authorization": f"bearer {tokens.issue(now=time.time() - 800)}"}).status_code == 200


def test_health_needs_no_token(anonymous: Client, sdk: AirbyteAPI) -> None:
    assert anonymous.http.get("/health").status_code == 200
    assert sdk.health.get_health_check().status_code == 200


# --- connections, workspaces ---------------------------------------------------------------------


def test_the_sdk_reads_connections_and_workspaces(shop: Shop, sdk: AirbyteAPI) -> None:
    connection = sdk.connections.get_connection(request=api.GetConnectionRequest(connection_id=shop.id)).connection_response
    assert (connection.name, connection.prefix, connection.status.value) == ("shop → s3 data lake", shop.prefix, "active")
    streams = {stream.name: stream for stream in connection.configurations.streams}
    assert list(streams) == [stream["name"] for stream in STREAMS]
    assert (streams["pairs"].sync_mode.value, streams["pairs"].cursor_field, streams["pairs"].primary_key) == (
        "incremental_deduped_history",
        ["updated_on"],
        [["a"], ["b"]],
    )
    assert (streams["readings"].sync_mode.value, streams["readings"].cursor_field) == ("full_refresh_append", None)
    listed = sdk.connections.list_connections(request=api.ListConnectionsRequest(limit=100)).connections_response
    assert shop.id in [item.connection_id for item in listed.data]
    workspaces = sdk.workspaces.list_workspaces(request=api.ListWorkspacesRequest()).workspaces_response
    assert [workspace.workspace_id for workspace in workspaces.data] == [connection.workspace_id]
    assert sdk.workspaces.get_workspace(request=api.GetWorkspaceRequest(workspace_id=connection.workspace_id)).status_code == 200
    problem(shop.service.client.http.get(f"/connections/{uuid4()}"), 404, "resource-not-found")
    problem(shop.service.client.http.get(f"/workspaces/{uuid4()}"), 404, "resource-not-found")


# --- jobs ----------------------------------------------------------------------------------------


def test_the_sdk_creates_reads_and_lists_jobs(shop: Shop, sdk: AirbyteAPI) -> None:
    created = sdk.jobs.create_job(request=models.JobCreateRequest(connection_id=shop.id, job_type=models.JobTypeEnum.SYNC)).job_response
    assert created.status in (models.JobStatusEnum.PENDING, models.JobStatusEnum.RUNNING)
    assert (created.last_updated_at, created.connection_id, created.job_type) == (None, shop.id, models.JobTypeEnum.SYNC)

    def read() -> Any:
        return sdk.jobs.get_job(request=api.GetJobRequest(job_id=created.job_id)).job_response

    done = wait_until(lambda: (job := read()).status is models.JobStatusEnum.SUCCEEDED and job)
    assert (done.rows_synced, done.job_id) == (ROWS, created.job_id)
    assert re.fullmatch(r"PT(\d+M)?\d+S", done.duration)
    for moment in (done.start_time, done.last_updated_at):
        assert abs(datetime.fromisoformat(moment) - datetime.now(UTC)) < timedelta(minutes=1)
    listed = sdk.jobs.list_jobs(request=api.ListJobsRequest(connection_id=shop.id)).jobs_response
    assert listed.data == [done]
    assert shop.sync()["jobId"] > created.job_id


def test_airflows_hook_submits_waits_and_cancels(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    monkeypatch.setenv("AIRFLOW__CORE__UNIT_TEST_MODE", "True")
    monkeypatch.setenv("AIRFLOW_CONN_AIRBYTE_TEST", f'{{"conn_type": "airbyte", "host": "{shop.service.client.api}", "login": "client", "password": "secret"}}')
    from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
    from airflow.providers.common.compat.sdk import AirflowException

    hook = AirbyteHook("airbyte_test")
    assert hook.test_connection() == (True, "Connection successfully tested")
    job = hook.submit_sync_connection(shop.id)
    hook.wait_for_job(job.job_id, wait_seconds=0.1, timeout=300)
    assert hook.get_job_status(job.job_id) == "succeeded"
    assert hook.get_job_details(job.job_id).rows_synced == ROWS
    shop.service.client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"stream_seconds": 5}})
    running = hook.submit_reset_connection(shop.id)
    with pytest.raises(AirflowException, match="409"):
        hook.submit_sync_connection(shop.id)
    shop.service.client.wait(running.job_id, "running")
    assert hook.cancel_job(running.job_id).status == "cancelled"
    with pytest.raises(AirflowException, match="cancelled"):
        hook.wait_for_job(running.job_id, wait_seconds=0.1)


def test_a_connection_has_one_job_at_a_time(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"queued": 3, "stream_seconds": 1}})
    job = client.submit(shop.id).json()
    assert job["status"] == "queued"
    for status in ("queued", "running"):
        client.wait(job["jobId"], status)
        for job_type in ("sync", "reset"):
            refusal = problem(client.submit(shop.id, job_type), 409, "try-again-later")
            assert refusal["data"] == {"message": f"A sync is already running for: {shop.id}"}
    assert client.wait(job["jobId"])["status"] == "succeeded"
    assert shop.sync()["status"] == "succeeded"


def test_of_many_submissions_at_once_one_is_accepted(shop: Shop) -> None:
    from concurrent.futures import ThreadPoolExecutor

    # the one that is accepted must last until all have asked
    shop.service.client.faults({"match": {"path": "/jobs", "method": "POST"}, "count": None, "job": {"stream_seconds": 60}})
    with ThreadPoolExecutor(8) as pool:
        answers = [answer.status_code for answer in pool.map(lambda _: shop.service.client.submit(shop.id), range(8))]
    assert sorted(answers) == [200] + [409] * 7


def test_jobs_beyond_the_slots_are_queued(service: Service, shop: Shop) -> None:
    service.client.faults({"match": {"path": "/jobs", "method": "POST"}, "count": 2, "job": {"stream_seconds": 20}})
    shops = [service.shop() for _ in range(2)]
    busy = [service.client.submit(one.id).json()["jobId"] for one in shops]
    waiting = service.client.submit(shop.id).json()["jobId"]
    assert re.fullmatch(r"PT\d+S", service.client.wait(waiting, "queued")["duration"])
    for job_id in busy:
        service.client.http.delete(f"/jobs/{job_id}")
    assert service.client.wait(waiting)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        (b"{", 400, "bad-request"),
        (b"[]", 422, "unprocessable-entity"),
        (b"{}", 422, "unprocessable-entity"),
        (b'{"connectionId": "x", "jobType": "sync"}', 422, "unprocessable-entity"),
        (b'{"connectionId": 7, "jobType": "sync"}', 422, "unprocessable-entity"),
        (b'{"connectionId": "7d2f3c36-53b5-5bd1-9d2b-6f5a2f1a0009", "jobType": "refresh"}', 422, "unprocessable-entity"),
        (b'{"connectionId": "7d2f3c36-53b5-5bd1-9d2b-6f5a2f1a0009"}', 422, "unprocessable-entity"),
        (b'{"connectionId": "7d2f3c36-53b5-5bd1-9d2b-6f5a2f1a0009", "jobType": "sync"}', 404, "resource-not-found"),
    ],
)
def test_bad_submissions(service: Service, body: bytes, status: int, title: str) -> None:
    problem(service.client.http.post("/jobs", content=body, headers={"Content-Type": "application/json"}), status, title)


def test_unknown_jobs_and_paths(service: Service, sdk: AirbyteAPI) -> None:
    client = service.client.http
    problem(client.get("/jobs/999999999"), 404, "resource-not-found")
    problem(client.delete("/jobs/999999999"), 404, "resource-not-found")
    problem(client.get("/jobs/abc"), 400, "bad-request")
    assert client.get("/nothing").status_code == 404
    assert client.put("/jobs", json={}).status_code == 405
    with pytest.raises(errors.SDKError) as raised:
        sdk.jobs.get_job(request=api.GetJobRequest(job_id=999999999))
    assert raised.value.status_code == 404


def test_cancelling(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"queued": 30}})
    queued = client.submit(shop.id).json()["jobId"]
    assert client.http.delete(f"/jobs/{queued}").json()["status"] == "cancelled"
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"stream_seconds": 30}})
    running = client.submit(shop.id).json()["jobId"]
    client.wait(running, "running")
    started = time.monotonic()
    assert client.http.delete(f"/jobs/{running}").json()["status"] == "cancelled"
    assert time.monotonic() - started < 20
    assert client.http.delete(f"/jobs/{running}").json()["status"] == "cancelled", "once more changes nothing"
    assert all(shop.table(stream["name"]) is None for stream in STREAMS)
    assert (done := shop.sync())["status"] == "succeeded"
    assert client.http.delete(f"/jobs/{done['jobId']}").json()["status"] == "succeeded"


# --- lists ---------------------------------------------------------------------------------------


@pytest.fixture
def history(shop: Shop) -> list[dict[str, Any]]:
    """Five jobs of one connection: three syncs, a reset, and a failed sync."""
    jobs = [shop.sync(), shop.sync("reset"), shop.sync()]
    shop.service.client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"fail": "no disk"}})
    return [*jobs, shop.sync(), shop.sync()]


def test_paging_filtering_and_order(shop: Shop, history: list[dict[str, Any]], sdk: AirbyteAPI) -> None:
    client = shop.service.client.http
    ids = [job["jobId"] for job in history]

    def found(**query: Any) -> list[int]:
        return [job["jobId"] for job in client.get("/jobs", params={"connectionId": shop.id, **query}).raise_for_status().json()["data"]]

    assert found() == ids
    assert found(orderBy="createdAt|DESC") == found(orderBy="updatedAt|DESC") == ids[::-1]
    assert found(jobType="reset") == [ids[1]]
    assert found(status="failed") == [ids[3]]
    assert found(status="succeeded", jobType="sync", limit=2, offset=1) == [ids[2], ids[4]]
    now, later = datetime.now(UTC), datetime.now(UTC) + timedelta(hours=1)
    assert found(createdAtStart=later.isoformat()) == found(updatedAtStart=later.isoformat()) == found(createdAtEnd="2020-01-01T00:00:00Z") == []
    assert found(createdAtStart=(now - timedelta(hours=1)).isoformat(), createdAtEnd=later.isoformat(), updatedAtEnd=later.isoformat()) == ids
    by_sdk = sdk.jobs.list_jobs(
        request=api.ListJobsRequest(
            connection_id=shop.id, status=models.JobStatusEnum.FAILED, created_at_start=now - timedelta(hours=1), order_by="createdAt|DESC", limit=1
        )
    )
    assert [job.job_id for job in by_sdk.jobs_response.data] == [ids[3]]

    page = client.get("/jobs", params={"connectionId": shop.id, "limit": 2}).json()
    assert page["previous"] == ""
    seen = [page]
    while seen[-1]["next"]:
        link = httpx.URL(seen[-1]["next"])
        assert (link.host, link.path) == ("localhost", "/api/public/v1/jobs"), "as a self-managed Airbyte: clients put their own host there"
        seen.append(client.get("/jobs", params=link.params).json())
    assert [job["jobId"] for page in seen for job in page["data"]] == ids
    assert [len(page["data"]) for page in seen] == [2, 2, 1]
    assert client.get("/jobs", params=httpx.URL(seen[-1]["previous"]).params).json()["data"] == seen[1]["data"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "offset=-1", "orderBy=rows|ASC", "orderBy=createdAt", "status=done", "jobType=x", "createdAtStart=yesterday"]
)
def test_bad_list_queries(service: Service, query: str) -> None:
    problem(service.client.http.get(f"/jobs?{query}"), 400, "bad-request")
