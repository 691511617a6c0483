"""The kernel side: what a notebook imports, usually as `hermes`.

    result = hermes.terminal("uname -a")       # output appears while it runs; result.stdout, result.exit_code, …
    text = hermes.read_file("notes.md")        # exactly as on disk
    pages = hermes.web_search("jupyter kernels", limit=3)

The host decides about every call, runs it and records it. What it denies raises `ToolDeniedError` (a `PermissionError`) and
names the rule. `hermes.tools()` lists what there is, `hermes.status()` says which session this is, `hermes.aio` has the same
tools for `await`, and `hermes.open` reads files too large for memory.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from hermes_runtime import _settings

with contextlib.suppress(ValueError):  # an import doesn't fail for it: the first call says what is wrong
    _settings.load()

from hermes_runtime import _discovery
from hermes_runtime._commands import TerminalResult
from hermes_runtime._errors import (
    BridgeUnavailableError,
    BudgetExceededError,
    HermesError,
    InvalidToolRequestError,
    ToolCancelledError,
    ToolCommandError,
    ToolDeniedError,
    ToolFailedError,
    ToolNotConfiguredError,
    ToolNotFoundError,
    ToolTimeoutError,
    UnknownToolError,
)
from hermes_runtime._files import open_file as open
from hermes_runtime._narrow import narrow
from hermes_runtime._processes import Process, ProcessLog, ProcessState
from hermes_runtime._secrets import SecretHandle, SecretText, secret
from hermes_runtime._tools import (
    budget,
    call,
    http_request,
    list_files,
    patch,
    process,
    read_bytes,
    read_file,
    search_files,
    status,
    terminal,
    tools,
    web_extract,
    web_search,
    write_file,
)

if TYPE_CHECKING:
    from hermes_runtime import aio
    from hermes_runtime._scraps import glue

__all__ = [
    "BridgeUnavailableError",
    "BudgetExceededError",
    "HermesError",
    "InvalidToolRequestError",
    "Process",
    "ProcessLog",
    "ProcessState",
    "SecretHandle",
    "SecretText",
    "TerminalResult",
    "ToolCancelledError",
    "ToolCommandError",
    "ToolDeniedError",
    "ToolFailedError",
    "ToolNotConfiguredError",
    "ToolNotFoundError",
    "ToolTimeoutError",
    "UnknownToolError",
    "aio",
    "budget",
    "call",
    "glue",
    "http_request",
    "list_files",
    "narrow",
    "open",
    "patch",
    "process",
    "read_bytes",
    "read_file",
    "search_files",
    "secret",
    "status",
    "terminal",
    "tools",
    "web_extract",
    "web_search",
    "write_file",
]


_ON_DEMAND = frozenset({"aio", "testing"})  # asyncio, and what only tests need


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "glue":
        return importlib.import_module(f"{__name__}._scraps").glue
    return _discovery.find_tool(name, __name__)


def __dir__() -> list[str]:
    return sorted({*__all__, *_discovery.known_names()})
