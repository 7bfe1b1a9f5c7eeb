"""The local Open edX answers as the real one does, status codes, bodies and quirks included."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from tests.openedx_service import EXPORTS, Service, program, running

GET = {"username": "data_platform", "page_size": "100"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(230) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(service: Service) -> Iterator[None]:
    service.clear()
    yield
    service.change(restore=list(service.store._runs))


@pytest.fixture
def http(service: Service) -> httpx.Client:
    """A client with a token."""
    return service.authorized()


# --- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "kind"), [("JWT", "JWT"), ("jwt", "JWT"), ("Bearer", "Bearer"), ("bearer", "Bearer")])
def test_a_token_is_of_the_type_that_was_asked_for_and_of_no_other(service: Service, asked: str, kind: str) -> None:
    answer = service.token(asked).json()
    assert (answer["token_type"], answer["expires_in"]) == (kind, 900)
    statuses = {
        scheme: service.http.get(f"{service.lms}/api/user/v1/me", headers={"Authorization": f"{scheme} {answer['access_token']}"}).status_code
        for scheme in ("JWT", "Bearer", "Basic")
    }
    assert statuses == {"JWT": 200 if kind == "JWT" else 401, "Bearer": 200 if kind == "Bearer" else 401, "Basic": 401}


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"token_type": "mac"}, 400, "unsupported_token_type"),
    ],
)
def test_wrong_credentials_get_no_token(service: Service, form: dict[str, str], status: int, error: str) -> None:
    answer = service.token(**form)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


def test_tokens_end() -> None:
    with running(1, token_seconds=3) as service:
        header = {"Authorization": f"JWT {service.token().json()['access_token']}"}
        assert service.http.get(f"{service.lms}/api/user/v1/me", headers=header).status_code == 200
        time.sleep(3.1)
        answer = service.http.get(f"{service.lms}/api/user/v1/me", headers=header)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'JWT realm="api"')


def test_all_tokens_end_at_once_on_request(service: Service, http: httpx.Client) -> None:
    assert http.get(f"{service.lms}/api/user/v1/me").json() == {"username": "data_platform"}
    service.http.delete("/_tokens")
    assert http.get(f"{service.lms}/api/user/v1/me").status_code == 401


def test_nothing_is_said_without_a_token(service: Service) -> None:
    course = service.ids[0]
    for path in ("/api/user/v1/me", "/api/courses/v1/courses/", f"/api/learning_sequences/v1/course_outline/{course}", f"/api/course-structure/v0/{course}/"):
        assert service.http.get(service.lms + path).status_code == 401
    assert service.http.post(f"{service.studio}/api/courses/v0/export/", json={"courses": [course]}).status_code == 401
    assert service.exports() == []


# --- LMS -----------------------------------------------------------------------------------------


def test_the_course_list_comes_in_pages(service: Service, http: httpx.Client) -> None:
    found: list[str] = []
    url: str | None = f"{service.lms}/api/courses/v1/courses/?username=data_platform&page_size=100"
    sizes = []
    while url:
        page = http.get(url).raise_for_status().json()
        sizes.append(len(page["results"]))
        found += [course["id"] for course in page["results"]]
        assert (page["pagination"]["count"], page["pagination"]["num_pages"]) == (230, 3)
        url = page["pagination"]["next"]
    assert sizes == [100, 100, 30]
    assert found == service.ids
    assert len(set(found)) == 230
    assert parse_qs(urlsplit(page["pagination"]["previous"]).query) == {"page": ["2"], "username": ["data_platform"], "page_size": ["100"]}


def test_pages_hold_at_most_a_hundred(service: Service, http: httpx.Client) -> None:
    answer = http.get(f"{service.lms}/api/courses/v1/courses/", params={**GET, "page_size": "5000"}).json()
    assert (len(answer["results"]), answer["pagination"]["num_pages"]) == (100, 3)


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"page_size": "100"}, 400, "username"),
        ({"username": "data_platform"}, 400, "page_size"),
        ({**GET, "page_size": "none"}, 400, "page_size"),
        ({**GET, "page": "0"}, 400, "page"),
        ({**GET, "page": "9"}, 404, ""),
        ({**GET, "username": "somebody"}, 404, ""),
    ],
)
def test_the_course_list_needs_its_parameters(service: Service, http: httpx.Client, params: dict[str, str], status: int, field: str) -> None:
    answer = http.get(f"{service.lms}/api/courses/v1/courses/", params=params)
    assert answer.status_code == status
    assert list(answer.json().get("field_errors", {})) == ([field] if field else [])


def test_a_course_is_shown_until_it_is_gone(service: Service, http: httpx.Client) -> None:
    course = service.ids[3]
    url = f"{service.lms}/api/courses/v1/courses/{course}/"
    found = http.get(url, params=GET).json()
    assert (found["id"], found["course_id"], found["org"], found["pacing"]) == (course, course, "MITxT", "instructor")
    assert "overview" in found
    service.change(remove=[course])
    assert http.get(url, params=GET).status_code == 404
    assert course not in service.ids
    service.change(restore=[course])
    assert http.get(url, params=GET).status_code == 200


def test_a_hidden_course_is_not_listed_but_is_there(service: Service, http: httpx.Client) -> None:
    course = service.ids[3]
    service.change(unlist=[course])
    first = http.get(f"{service.lms}/api/courses/v1/courses/", params=GET).json()
    assert course not in [one["id"] for one in first["results"]]
    assert http.get(f"{service.lms}/api/courses/v1/courses/{course}/").status_code == 200
    assert http.get(f"{service.lms}/api/learning_sequences/v1/course_outline/{course}").status_code == 200


def test_an_outline_has_the_published_version_and_a_publication_another(service: Service, http: httpx.Client) -> None:
    course, other = service.ids[:2]
    url = f"{service.lms}/api/learning_sequences/v1/course_outline/"
    before = http.get(url + course).json()
    assert before["course_key"] == course
    assert len(before["published_version"]) == 24
    assert {sequence for section in before["outline"]["sections"] for sequence in section["sequence_ids"]} == before["outline"]["sequences"].keys()
    untouched = http.get(url + other).json()["published_version"]
    service.change(publish=[course])
    after = http.get(url + course).json()
    assert after["published_version"] != before["published_version"]
    assert after["published_at"] > before["published_at"]
    assert http.get(url + other).json()["published_version"] == untouched


def test_outlines_that_are_not_there(service: Service, http: httpx.Client) -> None:
    course = service.ids[0]
    service.change(without_outline=[course])
    url = f"{service.lms}/api/learning_sequences/v1/course_outline/"
    assert http.get(url + course).status_code == 404
    assert http.get(f"{service.lms}/api/courses/v1/courses/{course}/").status_code == 200
    assert http.get(url + "course-v1:No+such+run").status_code == 404
    assert http.get(url + "not-a-key").status_code == 400


def test_a_structure_is_a_tree_of_blocks(service: Service, http: httpx.Client) -> None:
    course = service.ids[0]
    blocks = http.get(f"{service.lms}/api/course-structure/v0/{course}/").json()
    root = f"{course.replace('course-v1:', 'block-v1:')}+type@course+block@course"
    reached, waiting = set(), [root]
    while waiting:
        block = waiting.pop()
        reached.add(block)
        assert block.split("type@")[1].partition("+")[0] == blocks[block]["category"]
        waiting += blocks[block]["children"]
    assert reached == blocks.keys()
    assert [block["category"] for block in blocks.values()].count("problem") == 8
    assert http.get(f"{service.lms}/api/course-structure/v0/course-v1:No+such+run/").status_code == 404


def test_links_may_name_a_host_that_nobody_can_reach() -> None:
    with running(150, links="https://lms.internal") as service:
        answer = service.token().json()
        page = service.http.get(f"{service.lms}/api/courses/v1/courses/", params=GET, headers={"Authorization": f"JWT {answer['access_token']}"}).json()
        assert page["pagination"]["next"].startswith("https://lms.internal/mitxonline/lms/api/courses/v1/courses/?page=2")


def test_days_republish_exactly_their_share(service: Service, http: httpx.Client) -> None:
    before = {name: service.version(name) for name in service.ids}
    service.change(day=1)
    after = {name: service.version(name) for name in service.ids}
    assert sum(before[name] != after[name] for name in before) == round(230 * 0.03)
    service.change(day=0)
    assert {name: service.version(name) for name in service.ids} == before


# --- Studio --------------------------------------------------------------------------------------


def test_an_export_leaves_an_archive(service: Service, http: httpx.Client) -> None:
    course, other = service.ids[:2]
    answer = service.start(http, course, other)
    assert answer.status_code == 200
    assert answer.json()["failed_uploads"] == {}
    task, url = (answer.json()[name][course] for name in ("upload_task_ids", "upload_urls"))
    plain = httpx.Client(trust_env=False, timeout=60)
    address = url.replace("+", "%2B")
    assert service.states_until_end(http, course, task)[-1] == "Succeeded"
    archive = plain.get(address)
    assert archive.headers["Content-Length"] == str(len(archive.content))
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        names = tar.getnames()
        revision = service.store.run(course).revision  # type: ignore[union-attr]
        blocks = [tar.extractfile(name).read().decode() for name in names if "/problem/" in name]  # type: ignore[union-attr]
    assert "course/course.xml" in names
    assert len(blocks) == 8
    assert all(f"of revision {revision}" in block for block in blocks)
    assert plain.get(address, headers={"Authorization": "JWT x"}).status_code == 400, "S3 takes no tokens of others"
    assert plain.get(url).status_code == 404, "S3 reads a plus sign as a blank"


@pytest.mark.parametrize("end", ["Succeeded", "Failed", "Canceled"])
def test_all_states_of_an_export(service: Service, http: httpx.Client, end: str) -> None:
    course = service.ids[10 + len(end)]
    service.faults({"match": EXPORTS, "export": {"states": ["Pending", "In Progress", "Retrying"], "seconds": None, "end": end}})
    answer = service.start(http, course).json()
    seen = service.states_until_end(http, course, answer["upload_task_ids"][course])
    assert seen == ["Pending", "In Progress", "Retrying", end]
    assert (service.http.get(quote(urlsplit(answer["upload_urls"][course]).path)).status_code == 200) == (end == "Succeeded")


def test_an_export_can_hang(service: Service, http: httpx.Client) -> None:
    course = service.ids[6]
    service.faults({"match": EXPORTS, "export": {"states": ["Pending", "In Progress"], "seconds": 0, "end": None}})
    task = service.start(http, course).json()["upload_task_ids"][course]
    assert service.states_until_end(http, course, task, seconds=0.3) == ["In Progress"]


def test_a_partial_success_is_a_400_with_tasks(service: Service, http: httpx.Client) -> None:
    course, refused = service.ids[:2]
    service.faults({"match": EXPORTS, "export": {"refuse": "the queue is away"}})
    answer = service.start(http, course, refused)
    assert answer.status_code == 400
    assert answer.json()["upload_task_ids"].keys() == {course}
    assert answer.json()["failed_uploads"] == {refused: "the queue is away"}
    assert service.states_until_end(http, course, answer.json()["upload_task_ids"][course])[-1] == "Succeeded"


@pytest.mark.parametrize("body", [{}, {"courses": []}, {"courses": "course-v1:a+b+c"}, {"courses": [1]}])
def test_requests_that_make_no_sense(service: Service, http: httpx.Client, body: dict[str, Any]) -> None:
    answer = http.post(f"{service.studio}/api/courses/v0/export/", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "internal_error")


def test_tasks_that_are_not_there(service: Service, http: httpx.Client) -> None:
    course, other = service.ids[:2]
    task = service.start(http, course).json()["upload_task_ids"][course]
    assert service.state(http, other, task).json() == {"detail": "Task not found"}
    assert service.state(http, "course-v1:No+such+run", task).status_code == 404
    assert http.get(f"{service.studio}/api/courses/v0/export/{course}/").status_code == 500
    assert http.get(f"{service.lms}/api/courses/v0/export/{course}/").status_code == 404, "the LMS exports nothing"
    gone = service.start(http, "course-v1:No+such+run").json()["upload_task_ids"]["course-v1:No+such+run"]
    time.sleep(0.1)
    assert [one["state"] for one in service.exports() if one["task_id"] == gone] == ["Failed"]


# --- the program ----------------------------------------------------------------------------------


def test_the_program_serves_and_ends_on_a_signal(tmp_path: Path) -> None:
    with program(tmp_path / "log", "--courses", "12", "--export-seconds", "0.1") as service:
        service.deployment = "xpro"
        answer = service.token().json()
        http = httpx.Client(headers={"Authorization": f"JWT {answer['access_token']}"}, trust_env=False, timeout=60)
        page = http.get(f"{service.lms}/api/courses/v1/courses/", params=GET).json()
        assert page["pagination"]["count"] == 12
        assert page["results"][0]["org"] == "xPRO"
        course = page["results"][0]["id"]
        answer = service.start(http, course).json()
        service.states_until_end(http, course, answer["upload_task_ids"][course])
        with tarfile.open(fileobj=io.BytesIO(service.http.get(answer["upload_urls"][course].replace("+", "%2B")).content)) as tar:
            kinds = {name.split("/")[1] for name in tar.getnames() if name.count("/") > 1}
        structure = http.get(f"{service.lms}/api/course-structure/v0/{course}/").json()
        assert kinds > {block["category"] for block in structure.values()} - {"course"}, "the archive and the structure are of one course"
    assert "event=stopped" in (tmp_path / "log").read_text()
