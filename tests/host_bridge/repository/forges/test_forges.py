"""Each forge does what the interface says, in its own words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from forge_answers import ANN, OTHER
from forge_server import TOKEN, ForgeServer, forge_server
from repositories import Repository

from host_bridge.repository.forges.choice import open_forge
from host_bridge.repository.forges.http import Api
from host_bridge.repository.forges.interface import Forge, ForgeError
from host_bridge.repository.forges.places import Place, place_of
from host_bridge.repository.forges.tokens import VARIABLES, find_token
from host_bridge.repository.git import Git


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in {name for names in VARIABLES.values() for name in names}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HERMES_FORGE_TOKEN", TOKEN)
    return TOKEN


@pytest.fixture(params=["gitea", "github", "gitlab"])
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as started:
        yield started


@pytest.fixture
def forge(server: ForgeServer, token: str, repository: Repository) -> Forge:
    return open_forge(Git(repository.folder), "origin", kind=server.kind, address=server.repository)


def test_a_pull_request_is_opened_found_changed_and_commented(server: ForgeServer, forge: Forge) -> None:
    assert forge.find("agent/x", "main") is None
    opened = forge.create("agent/x", "main", "Title", "Text")
    assert (opened.number, opened.head, opened.base, opened.title) == (1, "agent/x", "main", "Title")
    assert forge.find("agent/x", "main") == opened == forge.get(1)
    assert forge.find("agent/x", "other") is None
    assert forge.update(1, "New", "Other text").title == "New"
    assert server.pulls[1]["body"] == "Other text"
    assert forge.comment(1, "Well done").startswith(server.repository)
    assert server.texts == [(1, "Well done")]


def test_a_comment_of_ones_own_is_found_again_and_changed(server: ForgeServer, forge: Forge) -> None:
    forge.create("agent/x", "main", "Title", "Text")
    assert forge.find_comment(1, "<!-- mark -->") is None
    bodies = [
        (OTHER, "<!-- mark --> somebody who would change it later"),
        (ANN, "> <!-- mark -->\na quotation"),
        *[(OTHER, f"talk {number}") for number in range(5)],
        (ANN, "<!-- mark -->\nfirst"),
    ]
    server.comments = {100 + at: {"number": 1, "author": who, "body": body} for at, (who, body) in enumerate(bodies)}
    server.largest_page = 3  # what is ours is on a later page

    found = forge.find_comment(1, "<!-- mark -->")

    assert found is not None
    assert (found.id, found.author, found.body) == (107, ANN, "<!-- mark -->\nfirst")
    assert forge.update_comment(1, found, "<!-- mark -->\nsecond").startswith(server.repository)
    assert [body for _, body in server.texts] == [body for _, body in bodies[:-1]] + ["<!-- mark -->\nsecond"]


def test_whose_comment_it_is_has_to_be_known(server: ForgeServer, forge: Forge) -> None:
    forge.create("agent/x", "main", "Title", "Text")
    forge.comment(1, "<!-- mark -->")
    server.knows_me = False
    assert forge.find_comment(1, "<!-- mark -->") is None
    server.failures = [500]
    with pytest.raises(ForgeError):
        forge.find_comment(1, "<!-- mark -->")


def test_a_forks_branch_of_the_same_name_is_not_ours(server: ForgeServer, forge: Forge) -> None:
    server.pulls[1] = {"head": "agent/x", "base": "main", "title": "Theirs", "body": "", "is_fork": True}
    assert forge.find("agent/x", "main") is None
    assert forge.get(1).is_fork
    server.pulls[2] = {"head": "agent/x", "base": "main", "title": "Ours", "body": ""}
    found = forge.find("agent/x", "main")
    assert found is not None
    assert (found.number, found.is_fork) == (2, False)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (401, "wrong or has expired"),
        (403, "may not do that"),
        (404, "may not see it"),
        (409, "there is one already"),
        (413, "more than the forge takes"),
        (422, "are both branches there"),
        (423, "archived"),
        (429, "wait a little"),
        (500, "itself failed"),
        (502, "itself failed"),
        (302, "another address"),
    ],
)
def test_a_refusal_says_what_to_do(server: ForgeServer, forge: Forge, failure: int, told: str) -> None:
    server.failures = [failure]
    with pytest.raises(ForgeError, match=told) as caught:
        forge.create("agent/x", "main", "Title", "Text")
    assert caught.value.status == failure
    assert server.pulls == {}
    assert not any("elsewhere" in request for request in server.requests)


def test_an_answer_that_is_cut_is_no_answer_and_nothing_is_done_twice(server: ForgeServer, forge: Forge) -> None:
    server.failures = ["cut"]
    with pytest.raises(ForgeError, match=r"no answer|isn't JSON"):
        forge.create("agent/x", "main", "Title", "Text")
    assert forge.find("agent/x", "main") is not None
    with pytest.raises(ForgeError) as caught:
        forge.create("agent/x", "main", "Title", "Text")
    assert caught.value.status == 409
    assert len(server.pulls) == 1


def test_the_token_is_in_no_error_and_travels_neither_readable_nor_elsewhere(repository: Repository) -> None:
    with forge_server("gitea") as server:
        wrong = "wrong-token-123"
        forge = Api(f"{server.address}/api/v1", {"Authorization": f"token {wrong}"}, wrong)
        with pytest.raises(ForgeError) as caught:
            forge.get("/repos/ann/reports/pulls")
        assert wrong not in str(caught.value)
        assert "[token]" in str(caught.value)
    with pytest.raises(ForgeError, match="readable"):
        Api("http://git.example.org/api/v1", {}, TOKEN)


def test_no_server_is_an_error_of_one_sentence(repository: Repository, token: str) -> None:
    with forge_server("gitea") as server:
        address = server.repository
    with pytest.raises(ForgeError, match="no answer"):
        open_forge(Git(repository.folder), "origin", address=address).find("a", "b")


@pytest.mark.parametrize(
    ("address", "site", "path"),
    [
        ("https://github.com/ann/reports.git", "https://github.com", "ann/reports"),
        ("https://ann:secret@git.example.org:3000/ann/reports", "https://git.example.org:3000", "ann/reports"),
        ("ssh://git@git.example.org:2222/ann/reports.git", "https://git.example.org", "ann/reports"),
        ("git@gitlab.com:group/sub/reports.git", "https://gitlab.com", "group/sub/reports"),
    ],
)
def test_a_remotes_address_leads_to_its_forge(address: str, site: str, path: str) -> None:
    place = place_of(address)
    assert (place.site, place.path) == (site, path)
    assert "secret" not in repr(place)


@pytest.mark.parametrize(
    "address", ["/srv/git/reports.git", "file:///srv/x.git", "../other", "https://git.example.org/", ""]
)
def test_a_remote_that_is_on_no_forge_is_told(address: str) -> None:
    with pytest.raises(ForgeError, match="--forge-url"):
        place_of(address)


def test_the_token_comes_from_a_source_a_variable_or_gits_helper(repository: Repository, tmp_path: Path) -> None:
    place, git = Place("https://git.example.org", "git.example.org", "ann/reports"), Git(repository.folder)
    with pytest.raises(ForgeError, match="GITEA_TOKEN"):
        find_token("gitea", place, git, environment={})
    assert find_token("gitea", place, git, environment={"GITEA_TOKEN": "from-variable"}) == "from-variable"
    (tmp_path / "token").write_text("from-file\n")
    (tmp_path / "token").chmod(0o600)
    assert find_token("gitea", place, git, f"file:{tmp_path}/token", {}) == "from-file"
    helper = "!f() { cat > asked; echo username=ann; echo password=from-helper; }; f"
    repository.git("config", "credential.helper", helper)
    assert find_token("gitea", place, git, environment={}) == "from-helper"
    assert "host=git.example.org" in (repository.folder / "asked").read_text()
