"""A parameter may be the handle of a secret: a name, said in the open, whose value nobody here has."""

from __future__ import annotations

import nbformat
import pytest

from host_bridge.executor.parameter_source import render_parameters
from host_bridge.executor.parameter_types import ParameterError, SecretHandle
from host_bridge.executor.parameters import check_parameters, inspect_parameters, parse_parameter


def declared(source: str):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return inspect_parameters(nbformat.v4.new_notebook(cells=[cell]))


def test_a_handle_in_the_parameters_cell_is_recognised_and_shown_as_written():
    (token,) = declared('token = hermes.secret("GITEA_TOKEN")  # to push with').values()
    assert (token.default, token.type, token.secret) == (SecretHandle("GITEA_TOKEN"), "SecretHandle", False)
    assert (token.default_source, token.help) == ('hermes.secret("GITEA_TOKEN")', "to push with")
    assert token.to_dict()["default"] == "[secret GITEA_TOKEN]"


def test_one_that_has_to_be_named():
    parameters = declared("token: hermes.SecretHandle")
    assert parameters["token"].required
    assert not parameters["token"].secret
    assert check_parameters(parameters, {"token": "CI_TOKEN"}) == {"token": SecretHandle("CI_TOKEN")}


def test_another_name_is_given_as_text_and_injected_in_the_open():
    parameters = declared('token = hermes.secret("GITEA_TOKEN")')
    value = parse_parameter("OTHER_TOKEN", parameters["token"])
    assert render_parameters({"token": value}) == (
        "# Parameters\ntoken = __import__(\"hermes_runtime\").secret('OTHER_TOKEN')\n"
    )
    import hermes_runtime

    namespace: dict = {}
    exec(render_parameters({"token": value}), namespace)
    assert namespace["token"] == hermes_runtime.secret("OTHER_TOKEN")


@pytest.mark.parametrize("value", ["glpat-s3cret/value", "two words", "", "x" * 65])
def test_a_value_in_place_of_a_name_is_refused_and_not_repeated(value):
    parameters = declared('token = hermes.secret("GITEA_TOKEN")')
    for give in (
        lambda: parse_parameter(value, parameters["token"]),
        lambda: check_parameters(parameters, {"token": value}),
    ):
        with pytest.raises(ParameterError, match="the name of a secret") as refused:
            give()
        assert value == "" or value not in str(refused.value)


def test_what_only_running_would_tell_is_no_handle():
    parameters = declared("name = 'X'\ntoken = hermes.secret(name)\nother = hermes.secret('not a name')")
    assert (parameters["token"].default, parameters["other"].default) == (None, None)
