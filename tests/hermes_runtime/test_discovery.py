"""Finding out what there is: help, signatures, completion, the host's own tools, and misspelt names."""

from __future__ import annotations

import inspect
import pydoc

import pytest

import hermes_runtime as hermes
from hermes_runtime import aio
from hermes_runtime._client import Client, replace
from hermes_runtime.testing import FakeHost

TOOLS = [
    "terminal",
    "read_file",
    "read_bytes",
    "write_file",
    "patch",
    "search_files",
    "list_files",
    "web_search",
    "web_extract",
    "process",
    "call",
    "tools",
    "budget",
    "status",
]


def shout(text: str, times: int = 2) -> str:
    """Give text in capitals."""
    return text.upper() * times


@pytest.mark.parametrize("name", TOOLS)
def test_tools_are_real_functions_with_help(name: str) -> None:
    function = getattr(hermes, name)
    assert inspect.isfunction(function)
    assert len(function.__doc__) > 20
    text = pydoc.plain(pydoc.render_doc(function))
    assert text.splitlines()[2].startswith(f"{name}(")
    assert "Operation" not in text
    assert name in hermes.__all__


@pytest.mark.parametrize("name", TOOLS)
def test_awaitable_tools_have_the_same_signature_and_help(name: str) -> None:
    function = getattr(aio, name)
    assert inspect.iscoroutinefunction(function)
    assert inspect.signature(function) == inspect.signature(getattr(hermes, name))
    assert function.__doc__
    assert name in aio.__all__


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "terminal",
            {
                "command": inspect.Parameter.empty,
                "background": False,
                "timeout": 180,
                "workdir": None,
                "pty": False,
                "notify_on_complete": False,
                "watch_patterns": None,
            },
        ),
        ("process", {"session_id": None, "data": None, "timeout": None, "offset": 0, "limit": None}),
        ("read_file", {"path": inspect.Parameter.empty, "offset": 1}),
        ("search_files", {"target": "content", "path": ".", "file_glob": None, "limit": 50, "offset": 0, "context": 0}),
        ("patch", {"mode": "replace", "replace_all": False, "patch": None}),
        ("web_search", {"query": inspect.Parameter.empty, "limit": 5}),
        ("web_extract", {"urls": inspect.Parameter.empty, "char_limit": None}),
    ],
)
def test_parameters_and_defaults_are_those_of_hermes_agents_tools(name: str, expected: dict[str, object]) -> None:
    parameters = inspect.signature(getattr(hermes, name)).parameters
    assert {each: parameters[each].default for each in expected} == expected


def test_everything_exported_is_there() -> None:
    assert all(hasattr(hermes, name) for name in hermes.__all__)
    assert set(hermes.__all__) <= set(dir(hermes))
    assert all(hasattr(aio, name) for name in aio.__all__)


def test_a_tool_of_the_host_is_a_function_of_the_module() -> None:
    with FakeHost({"shout": shout}):
        assert hermes.shout(text="a") == "AA"
        assert hermes.shout("b", times=3) == "BBB"
        assert hermes.shout.__doc__ == "Give text in capitals."
        assert str(inspect.signature(hermes.shout)) == "(text: str, times: int = 2)"
        assert "shout" in dir(hermes)
        from hermes_runtime import shout as imported  # type: ignore[attr-defined]

        assert imported("c", 1) == "C"
    assert "shout" not in dir(hermes)


def test_a_tool_of_the_host_can_be_awaited() -> None:
    import asyncio

    async def main() -> str:
        return await hermes.aio.shout("a", times=1)

    with FakeHost({"shout": shout}):
        assert asyncio.run(main()) == "A"


def test_calling_a_tool_of_the_host_wrongly_is_a_type_error() -> None:
    with FakeHost({"shout": shout}):
        with pytest.raises(TypeError, match="takes 2 positional"):
            hermes.shout("a", 1, 2)
        with pytest.raises(TypeError, match="two values for text"):
            hermes.shout("a", text="b")


def test_a_misspelt_name_is_an_attribute_error_with_a_suggestion() -> None:
    with FakeHost({"shout": shout}):
        with pytest.raises(AttributeError, match="did you mean 'shout'"):
            hermes.shuot  # noqa: B018
        with pytest.raises(AttributeError, match="did you mean 'terminal'"):
            hermes.terminl  # noqa: B018
        with pytest.raises(LookupError, match=r"no tool or attribute 'zzz'$"):
            hermes.zzz  # noqa: B018
        with pytest.raises(ImportError):
            from hermes_runtime import nothing_like_it  # type: ignore[attr-defined] # noqa: F401
        assert not hasattr(hermes, "nothing")


@pytest.mark.parametrize(
    "name", ["_private", "__wrapped__", "_ipython_canary_method_should_not_exist_", "NotATool", "kernel_"]
)
def test_asking_for_odd_names_opens_no_connection_without_a_bridge(name: str) -> None:
    previous = replace(Client(None))
    try:
        assert not hasattr(hermes, name)
    finally:
        replace(previous)


def test_introspection_opens_no_connection() -> None:
    with FakeHost({"shout": shout}) as host:
        for name in ("_repr_html_", "__path_", "Name", "_x"):
            assert not hasattr(hermes, name)
        dir(hermes)
        assert not host._connections
