"""What is believed of GitHub's answers: whole ones, and nothing else."""

from __future__ import annotations

import pytest

from include.config.load import load_branches_unit
from include.contract import PermanentError, TransientError
from include.jobs.branches.github import GitHub, Patience
from tests.github_service import TOKEN, Service

REPOSITORY = load_branches_unit().repository
QUICK = Patience(tries=3, first=0.01, longest=0.1)
LIST = f"/repos/{REPOSITORY}/pulls"


def client(service: Service, token: str = TOKEN, repository: str = REPOSITORY, seconds: float = 30) -> GitHub:
    return GitHub(service.root, repository, token, patience=QUICK, seconds=seconds)


def test_all_pages_are_read(service: Service) -> None:
    service.set({number: "open" if number % 2 else "closed" for number in range(1, 501)})
    with client(service) as github:
        assert github.open_numbers() == frozenset(range(1, 501, 2))
    assert [request["query"].count("page=") for request in service.requests()] == [1, 2, 2]


def test_no_pull_request_is_open(service: Service) -> None:
    with client(service) as github:
        assert github.open_numbers() == frozenset()


def test_one_pull_request(service: Service) -> None:
    service.pulls(pr_7="open", pr_8="closed")
    with client(service) as github:
        assert [github.state_of(number) for number in (7, 8, 9)] == ["open", "closed", None]


@pytest.mark.parametrize("effect", [{"status": 500}, {"status": 429, "retry_after": 0.05}, {"half_body": True}, {"drop_answer": True}, {"delay": 1.5}])
def test_another_try_mends_what_passes(service: Service, effect: dict) -> None:
    service.set(dict.fromkeys(range(1, 251), "open"))
    service.faults({"match": {"path": LIST}, "skip": 1, "count": 1, **effect})
    with client(service, seconds=1 if "delay" in effect else 30) as github:
        assert len(github.open_numbers()) == 250


@pytest.mark.parametrize("effect", [{"status": 503}, {"half_body": True}, {"drop_answer": True}])
def test_what_does_not_pass_is_a_failure_and_no_shorter_list(service: Service, effect: dict) -> None:
    """The second of three pages never comes whole."""
    service.set(dict.fromkeys(range(1, 251), "open"))
    service.faults({"match": {"path": LIST}, "skip": 1, "count": None, **effect})
    with client(service) as github, pytest.raises(TransientError, match="no answer in 3 tries"):
        github.open_numbers()


def test_a_refused_token_and_a_hidden_repository_are_permanent(service: Service) -> None:
    with client(service, token="another") as github, pytest.raises(PermanentError, match=r"status 401: .*Bad credentials"):
        github.open_numbers()
    with client(service, repository="mitodl/hidden") as github, pytest.raises(PermanentError, match="status 404"):
        github.open_numbers()


def test_nobody_answers() -> None:
    with GitHub("http://127.0.0.1:9", REPOSITORY, TOKEN, patience=QUICK) as github, pytest.raises(TransientError, match="ConnectError"):
        github.state_of(7)
