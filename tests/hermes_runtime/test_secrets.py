"""A secret's handle: it can be passed on, put together and compared, and shows its name only."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

import hermes_runtime as hermes
from hermes_protocol.messages import SecretMark
from hermes_runtime._secrets import take_handles
from hermes_runtime._tools import call_operation, terminal_operation
from hermes_runtime.testing import FakeHost

TOKEN = hermes.secret("GITEA_TOKEN")


def test_it_shows_its_name_and_nothing_else():
    assert repr(TOKEN) == "hermes.secret('GITEA_TOKEN')"
    assert str(TOKEN) == "[secret GITEA_TOKEN]"
    assert repr("token " + TOKEN) == "'token ' + hermes.secret('GITEA_TOKEN')"
    assert str("token " + TOKEN + "!") == "token [secret GITEA_TOKEN]!"


def test_it_is_equal_by_name_and_pickles():
    assert TOKEN == hermes.secret("GITEA_TOKEN") != hermes.secret("OTHER")
    assert {TOKEN, hermes.secret("GITEA_TOKEN")} == {TOKEN}
    for value in (TOKEN, "token " + TOKEN):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_it_is_no_text_and_cannot_become_part_of_one_by_mistake():
    with pytest.raises(TypeError, match="f-string"):
        f"token {TOKEN}"
    with pytest.raises(TypeError, match="f-string"):
        "token {}".format("token " + TOKEN)
    with pytest.raises(TypeError):
        "".join(TOKEN)
    with pytest.raises(TypeError):
        TOKEN + 3
    with pytest.raises(TypeError):
        json.dumps(TOKEN)
    with pytest.raises(AttributeError):
        TOKEN.name = "OTHER"


@pytest.mark.parametrize("name", ["", "a b", "1A", "A" * 65, "A\n", "É", None, 3])
def test_what_is_no_name_is_refused_at_once(name):
    with pytest.raises(hermes.InvalidToolRequestError):
        hermes.secret(name)


def test_a_request_says_beside_its_arguments_where_secrets_are_meant():
    operation = call_operation("deploy", headers={"Authorization": "token " + TOKEN}, list=["x", TOKEN], n=1)
    assert operation.arguments == {
        "headers": {"Authorization": "token [secret GITEA_TOKEN]"},
        "list": ["x", "[secret GITEA_TOKEN]"],
        "n": 1,
    }
    assert operation.secrets == (
        SecretMark(name="GITEA_TOKEN", argument=("headers", "Authorization"), offset=6),
        SecretMark(name="GITEA_TOKEN", argument=("list", 1)),
    )


def test_data_that_looks_like_a_handle_is_data():
    arguments = {"a": "[secret GITEA_TOKEN]", "b": {"name": "GITEA_TOKEN", "type": "secret"}}
    assert take_handles(arguments) == (arguments, ())
    assert call_operation("deploy", **arguments).secrets == ()


def test_a_command_gets_secrets_by_their_own_names_or_by_those_of_variables():
    listed = terminal_operation("git push", secrets=[TOKEN])
    assert listed.arguments["secrets"] == {"GITEA_TOKEN": "[secret GITEA_TOKEN]"}
    named = terminal_operation("gh release list", background=True, secrets={"GH_TOKEN": TOKEN})
    assert named.secrets == (SecretMark(name="GITEA_TOKEN", argument=("secrets", "GH_TOKEN")),)
    assert "secrets" not in terminal_operation("ls").arguments
    for wrong in (["GITEA_TOKEN"], {"GH_TOKEN": "x"}, {3: TOKEN}):
        with pytest.raises(hermes.InvalidToolRequestError, match="handles"):
            terminal_operation("ls", secrets=wrong)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hermes.terminal(TOKEN), "command line"),
        (lambda: hermes.terminal("curl -u " + TOKEN), "command line"),
        (lambda: hermes.web_extract([TOKEN]), "takes none there"),
        (lambda: hermes.write_file("a.txt", TOKEN), None),
        (lambda: hermes.read_file(TOKEN), None),
    ],
)
def test_where_no_secret_can_stand_it_is_refused_before_anything_is_sent(call, said):
    with FakeHost(tools={"terminal": lambda **_: ""}, files={}) as host:
        with pytest.raises((hermes.InvalidToolRequestError, TypeError), match=said):
            call()
        assert not host.calls


def test_a_fake_host_shows_where_a_handle_was_passed_and_status_lists_the_names():
    with FakeHost(tools={"deploy": lambda **_: "done"}, secrets=("GITEA_TOKEN",)) as host:
        assert hermes.call("deploy", token=TOKEN) == "done"
        assert host.calls[0].arguments == {"token": "[secret GITEA_TOKEN]"}
        assert host.calls[0].secrets == ("GITEA_TOKEN",)
        assert hermes.status().secrets == ("GITEA_TOKEN",)
