"""Tools that only the host knows of: `hermes.my_tool(x=1)` works for whatever tool the session's welcome lists."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from hermes_protocol.messages import ToolDescription
from hermes_runtime import _session_tools, _tools
from hermes_runtime._blocking import Spelling
from hermes_runtime._client import current
from hermes_runtime._errors import BridgeUnavailableError, HermesError, MissingToolError, suggestion

ASK_SECONDS = 10.0
_SUBMODULES = frozenset({"kernel"})  # `from hermes_runtime import kernel` asks for the attribute first


def find_tool(name: str, module: str) -> Any:
    """Give the function for a tool of the host, for a module's `__getattr__`.

    Raises:
        MissingToolError: There is none (an `AttributeError`); the text suggests one.
    """
    if name.startswith("_") or name in _SUBMODULES:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    known = {described.name: described for described in _described(name)}
    if name in known:
        return _function(known[name])
    hint = suggestion(name, [*known, *_own_names()])
    raise MissingToolError(f"module {module!r} has no tool or attribute {name!r}{hint}")


def known_names() -> list[str]:
    """List the tools of the host as far as they are known without asking."""
    welcome = current().welcome
    return [described.name for described in welcome.tools] if welcome else []


def _described(name: str) -> tuple[ToolDescription, ...]:
    client = current()
    # Introspection asks for all sorts of names, and must not open a connection for them.
    if not name.islower() or client.ticket is None:
        return ()
    try:
        if client.welcome is None:
            _session_tools.status(timeout=ASK_SECONDS)
    except BridgeUnavailableError:
        return ()
    except HermesError as error:
        raise MissingToolError(f"can't look for a tool {name!r}: {error}") from error
    welcome = client.welcome
    return welcome.tools if welcome is not None else ()


def _own_names() -> list[str]:
    return list(sys.modules["hermes_runtime"].__all__)


def _function(described: ToolDescription) -> Any:
    name = described.name

    def operation(*args: Any, **arguments: Any) -> Any:
        return _tools.call_operation(name, **_named(described, args, arguments))

    def call(*args: Any, **arguments: Any) -> Any:
        __tracebackhide__ = True
        return _tools.call(name, **_named(described, args, arguments))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = described.summary or f"The host's tool {name}."
    call.__signature__ = _signature(described)  # type: ignore[attr-defined]
    call.operation = operation  # type: ignore[attr-defined]
    return call


def _named(described: ToolDescription, args: tuple[Any, ...], arguments: dict[str, Any]) -> dict[str, Any]:
    names = [parameter.name for parameter in described.parameters]
    if len(args) > len(names):
        raise TypeError(f"{described.name}() takes {len(names)} positional arguments, got {len(args)}")
    positional = dict(zip(names, args, strict=False))
    if twice := positional.keys() & arguments.keys():
        raise TypeError(f"{described.name}() got two values for {', '.join(sorted(twice))}")
    return {**positional, **arguments}


def _signature(described: ToolDescription) -> inspect.Signature:
    """Give the signature for help and completion; defaults stand there in the host's spelling."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    ordered = sorted(described.parameters, key=lambda parameter: not parameter.required)
    parameters = [
        inspect.Parameter(
            each.name,
            kind,
            default=inspect.Parameter.empty if each.required else Spelling(each.default or "…"),
            annotation=Spelling(each.type),
        )
        for each in ordered
    ]
    return inspect.Signature(parameters)
