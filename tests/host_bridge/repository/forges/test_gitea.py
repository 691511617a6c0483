"""What the client asks of Gitea is what its published description says, and so is what the forge of these tests answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import forge_answers
import pytest
from forge_server import TOKEN, ForgeServer, forge_server
from gitea_description import OPERATIONS, DescriptionError, fields

from host_bridge.repository.forges.gitea import Gitea
from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import Comment, ForgeError
from host_bridge.repository.forges.places import place_of

PULLS = "/repos/ann/reports/pulls"
CALLS: dict[str, Callable[[Gitea], object]] = {
    "repoListPullRequests": lambda forge: forge.find("agent/x", "main"),
    "repoGetPullRequest": lambda forge: forge.get(1),
    "repoCreatePullRequest": lambda forge: forge.create("agent/x", "main", "Title", "Text"),
    "repoEditPullRequest": lambda forge: forge.update(1, "Title", "Text"),
    "issueGetComments": lambda forge: list(forge._comments(1)),
    "issueCreateComment": lambda forge: forge.comment(1, "Text"),
    "issueEditComment": lambda forge: forge.update_comment(1, Comment(1000, 7, "Text"), "Other text"),
    "userGetCurrent": lambda forge: forge.find_comment(1, "mark"),
}


@pytest.fixture
def server() -> Iterator[ForgeServer]:
    with forge_server() as started:
        yield started


@pytest.fixture
def forge(server: ForgeServer) -> Gitea:
    return Gitea(place_of(server.repository), TOKEN)


def test_every_operation_of_the_description_is_used_and_answers(server: ForgeServer, forge: Gitea) -> None:
    assert set(CALLS) == {operation.name for operation in OPERATIONS}
    forge.create("agent/y", "main", "Title", "Text")
    forge.comment(1, "Text")
    for call in CALLS.values():
        call(forge)
    for operation in OPERATIONS:
        assert any(
            method == operation.method and operation.values(path) is not None
            for method, _, path in (request.partition(" ") for request in server.requests)
        ), operation.name


@pytest.mark.parametrize(
    ("operation", "code"), [(operation.name, code) for operation in OPERATIONS for code in operation.failures]
)
def test_every_refusal_that_is_described_is_told_with_what_to_do(
    server: ForgeServer, forge: Gitea, operation: str, code: int
) -> None:
    server.failures = [code]
    with pytest.raises(ForgeError, match=rf": {code} .+; .+") as caught:
        CALLS[operation](forge)
    assert caught.value.status == code


@pytest.mark.parametrize(
    ("method", "path", "sent", "told"),
    [
        ("POST", PULLS, {"head": "a", "base": "b", "title": "c", "bdoy": "d"}, "'bdoy' was unexpected"),
        ("POST", PULLS, {"head": "a", "base": "b", "title": 3}, "3 is not of type 'string'"),
        ("PATCH", f"{PULLS}/1", {"state": None}, "None is not of type 'string'"),
        ("POST", "/repos/ann/reports/issues/1/comments", {}, "'body' is a required property"),
        ("GET", PULLS, {"state": "opened"}, "'opened' is not one of"),
        ("GET", PULLS, {"page": 0}, "less than the minimum"),
        ("GET", PULLS, {"head": "agent/x"}, "no parameter 'head'"),
        ("GET", "/repos/ann/reports/issues/1/comments", {"page": 1}, "no parameter 'page'"),
    ],
)
def test_what_the_description_does_not_have_is_refused(
    server: ForgeServer, method: str, path: str, sent: dict[str, object], told: str
) -> None:
    api = Api(f"{server.address}/api/v1", {"Authorization": f"token {TOKEN}"}, TOKEN)
    with pytest.raises(ForgeError, match=told) as caught:
        api.get(path, **sent) if method == "GET" else api.send(method, path, sent)  # type: ignore[arg-type]
    assert caught.value.status == 422


@pytest.mark.parametrize("drift", [{"number": "1"}, {"html_link": "x"}, {"created_at": "yesterday"}])
def test_an_answer_that_the_real_one_never_gives_fails_whoever_uses_the_forge(
    monkeypatch: pytest.MonkeyPatch, drift: dict[str, object]
) -> None:
    honest = forge_answers.pull_request
    monkeypatch.setattr(forge_answers, "pull_request", lambda *args: honest(*args) | drift)
    with (
        pytest.raises(DescriptionError, match="repoCreatePullRequest never answers so"),
        forge_server() as server,
        pytest.raises(ForgeError, match="500"),
    ):
        Gitea(place_of(server.repository), TOKEN).create("agent/x", "main", "Title", "Text")


def test_the_forges_answers_have_every_field_but_those_of_what_has_not_happened(server: ForgeServer) -> None:
    pull = forge_answers.pull_request(
        "gitea", server.repository, 1, {"head": "a", "base": "b", "title": "c", "body": ""}
    )
    closing = {"closed_at", "merged_at", "merged_by", "merge_commit_sha"}
    assert fields("PullRequest") - set(pull) == {"assignee", "milestone", "due_date"} | closing
    assert fields("PRBranchInfo") == set(pull["head"])
    assert fields("Repository") == set(pull["head"]["repo"])
    assert fields("User") == set(pull["user"])
    made = {"number": 1, "author": forge_answers.ANN, "body": "d"}
    assert fields("Comment") == set(forge_answers.comment("gitea", server.repository, 1, made))


def test_a_pull_request_is_found_on_whichever_page_it_is(server: ForgeServer, forge: Gitea) -> None:
    for number in range(1, 121):
        server.pulls[number] = {"head": f"b{number}", "base": "release/1", "title": "Title", "body": ""}
    server.largest_page = 20  # an instance may give less than it is asked for
    found = forge.find("b111", "release/1")
    assert found is not None
    assert found.number == 111
    assert len(server.requests) == 6


def test_pull_requests_for_another_base_are_not_looked_through(server: ForgeServer, forge: Gitea) -> None:
    for number in range(1, 121):
        server.pulls[number] = {"head": f"b{number}", "base": "main", "title": "Title", "body": ""}
    server.pulls[121] = {"head": "agent/x", "base": "release/1", "title": "Title", "body": ""}
    found = forge.find("agent/x", "release/1")
    assert found is not None
    assert found.number == 121
    assert len(server.requests) == 1
