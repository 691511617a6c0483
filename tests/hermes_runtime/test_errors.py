"""Which code becomes which exception, and what an exception is good for."""

from __future__ import annotations

import inspect
import pickle

import pytest
from sdk_hosts import Place, bridge_place

import hermes_runtime as hermes
from hermes_protocol import ErrorCode
from hermes_protocol.messages import Failure
from hermes_runtime import _errors
from hermes_runtime._errors import ERRORS, HermesError, MissingToolError, error_from
from hermes_runtime.testing import FakeHost


def all_errors() -> list[type[HermesError]]:
    found = [each for _, each in inspect.getmembers(_errors, inspect.isclass) if issubclass(each, HermesError)]
    assert len(found) > 10
    return found


def test_every_code_has_its_class() -> None:
    assert set(ERRORS) == set(ErrorCode)


def test_every_class_is_exported_and_a_hermes_error() -> None:
    exported = {name for name in hermes.__all__ if name.endswith("Error")}
    assert exported == {each.__name__ for each in all_errors()} - {MissingToolError.__name__}


@pytest.mark.parametrize(
    ("code", "builtin"),
    [
        (ErrorCode.INVALID_REQUEST, ValueError),
        (ErrorCode.UNKNOWN_TOOL, LookupError),
        (ErrorCode.DENIED, PermissionError),
        (ErrorCode.BUDGET_EXHAUSTED, PermissionError),
        (ErrorCode.TIMED_OUT, TimeoutError),
        (ErrorCode.NOT_FOUND, FileNotFoundError),
        (ErrorCode.FAILED, RuntimeError),
        (ErrorCode.NOT_CONFIGURED, RuntimeError),
        (ErrorCode.AUDIT_FAILED, RuntimeError),
        (ErrorCode.INTERNAL, RuntimeError),
        (ErrorCode.SESSION_ENDED, ConnectionError),
    ],
)
def test_a_notebook_that_imports_nothing_of_ours_can_catch_it(code: ErrorCode, builtin: type[Exception]) -> None:
    error = error_from(Failure(code=code, message="what happened"))
    assert isinstance(error, builtin)
    assert isinstance(error, HermesError)
    assert str(error) == "what happened"


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_pickles_with_all_it_knows(kind: type[HermesError]) -> None:
    error = kind("what happened")
    error.__dict__.update({name: f"some {name}" for name in error.__dict__})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.__dict__) == (str(error), error.__dict__)


def test_a_denial_carries_its_rule_and_its_remedy() -> None:
    error = error_from(
        Failure(code=ErrorCode.DENIED, message="not allowed", rule_id="workspace:deny:3", remedy='add "terminal(ls)"')
    )
    assert isinstance(error, hermes.ToolDeniedError)
    assert (error.reason, error.rule_id, error.remedy) == ("not allowed", "workspace:deny:3", 'add "terminal(ls)"')
    assert str(error) == 'not allowed [rule: workspace:deny:3]\nTo change this: add "terminal(ls)"'


def test_what_the_message_says_already_is_not_said_twice() -> None:
    error = error_from(Failure(code=ErrorCode.DENIED, message="rule r1 said no; do x", rule_id="r1", remedy="do x"))
    assert str(error) == "rule r1 said no; do x"


def test_a_real_denial_names_the_rule_and_what_a_person_could_do() -> None:
    with bridge_place(profile="read-only"), pytest.raises(PermissionError) as caught:
        hermes.write_file("a.txt", "text")
    assert isinstance(caught.value, hermes.ToolDeniedError)
    assert caught.value.rule_id
    assert caught.value.remedy
    assert caught.value.remedy in str(caught.value)


def test_an_exhausted_budget_is_a_denial_and_shows_in_the_budget() -> None:
    with bridge_place(budgets={"calls": 2.0}):
        hermes.terminal("true")
        hermes.terminal("true")
        with pytest.raises(hermes.BudgetExceededError):
            hermes.terminal("true")
        assert hermes.budget().left("calls") == 0


def test_tracebacks_show_little_of_the_package() -> None:
    with FakeHost({}), pytest.raises(hermes.UnknownToolError) as caught:
        hermes.call("no_such_tool")
    frames = [entry for entry in caught.traceback if "hermes_runtime/_" in str(entry.path)]
    assert len(frames) <= 3
    assert all(entry.frame.f_locals.get("__tracebackhide__") for entry in frames)
    assert caught.value.__context__ is None


def test_an_unknown_tool_gets_a_suggestion(place: Place) -> None:
    with pytest.raises(hermes.UnknownToolError, match="read_file"):
        hermes.call("read_fil", path="a")
    with pytest.raises(hermes.UnknownToolError, match="can't be a tool's name"):
        hermes.call("Read File")
    assert hermes.terminal("echo still here", stream=False).ok


def test_an_unknown_tool_is_told_once(place: Place) -> None:
    with pytest.raises(hermes.UnknownToolError) as caught:
        hermes.call("terminl", command="true")
    assert str(caught.value) == "there is no tool 'terminl'; did you mean 'terminal'?"
