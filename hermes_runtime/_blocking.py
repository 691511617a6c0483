"""From what builds an operation to the function a notebook calls: one description of a tool for both faces.

`tool` makes the blocking function that `hermes` exports; `aio` makes the asynchronous one of the same builder.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar

from hermes_protocol.frames import Frame
from hermes_runtime._calls import Operation
from hermes_runtime._errors import ToolFailedError
from hermes_runtime._running import run

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

SECONDS = 120.0  # for what is neither a command nor a transfer

Path = str | os.PathLike[str]


class BlockingTool(Protocol[P, R_co]):
    """A tool as a function; `operation` gives what it would ask."""

    __name__: str

    def operation(self, *args: P.args, **kwargs: P.kwargs) -> Operation[R_co]:
        """Give the operation without doing it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Do it and wait for the result."""


def tool(build: Callable[P, Operation[R]]) -> BlockingTool[P, R]:
    """Make the blocking function of what builds an operation."""

    @functools.wraps(build)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        __tracebackhide__ = True
        return run(build(*args, **kwargs))

    show_result(call, build)
    call.operation = build  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def show_result(function: Any, build: Callable[..., Any]) -> None:
    """Let help and completion show what a function gives, where its builder gives the operation for it."""
    signature = inspect.signature(build)
    result = str(signature.return_annotation).removeprefix("Operation[").removesuffix("]")
    parameters = [each.replace(annotation=Spelling(each.annotation)) for each in signature.parameters.values()]
    function.__signature__ = inspect.Signature(parameters, return_annotation=Spelling(result))
    function.__annotations__ = {**build.__annotations__, "return": result}


class Spelling(str):
    """Text that shows as it is, without quotes: an annotation or a default in a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ValueOperation(Operation[R]):
    """A call whose result is plain data and some bulk, made into a value by a function."""

    __slots__ = ("_make",)

    def __init__(
        self,
        tool: str,
        arguments: dict[str, Any],
        seconds: float,
        make: Callable[[Any, Mapping[str, Frame]], R],
        contents: Mapping[str, memoryview] | None = None,
    ) -> None:
        super().__init__(tool, arguments, seconds, contents=contents)
        self._make = make

    def finish(self, result: Any, bulk: Mapping[str, Frame]) -> R:
        """Make the value."""
        return self._make(result, bulk)


def mapping(result: Any, name: str) -> dict[str, Any]:
    """Give a result that has to be a map.

    Raises:
        ToolFailedError: It isn't.
    """
    if isinstance(result, dict):
        return result
    raise ToolFailedError(f"{name}: the host's answer can't be read; host and notebook should use the same release")
