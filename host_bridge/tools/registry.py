"""Which tools there are: the built-in ones and those that installed distributions add."""

from __future__ import annotations

import difflib
import importlib.metadata
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import Union, get_args, get_origin, get_type_hints

import msgspec

from hermes_protocol.messages import Parameter, ToolDescription
from host_bridge.errors import ConfigurationError, UnknownToolError
from host_bridge.tools.http_request import HttpRequest
from host_bridge.tools.interface import Tool, Upload
from host_bridge.tools.list_files import ListFiles
from host_bridge.tools.patch import Patch
from host_bridge.tools.process import Process
from host_bridge.tools.read_file import ReadFile
from host_bridge.tools.search_files import SearchFiles
from host_bridge.tools.terminal import Terminal
from host_bridge.tools.web_extract import WebExtract
from host_bridge.tools.web_search import WebSearch
from host_bridge.tools.write_file import WriteFile

ENTRY_POINT_GROUP = "hermes_runtime.tools"

BUILT_IN: tuple[type[Tool], ...] = (
    Terminal,
    Process,
    ReadFile,
    WriteFile,
    Patch,
    ListFiles,
    SearchFiles,
    WebSearch,
    WebExtract,
    HttpRequest,
)


class Registry(Mapping[str, Tool]):
    """The tools of a session, by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self.add(tool)

    def add(self, tool: Tool) -> None:
        """Add a tool.

        Raises:
            ConfigurationError: The name is taken: which of two would run must never depend on luck.
        """
        if tool.name in self._tools:
            raise ConfigurationError(
                f"two tools are named {tool.name!r} ({type(self._tools[tool.name]).__module__} and "
                f"{type(tool).__module__}); uninstall one of the distributions",
                key=tool.name,
            )
        self._tools[tool.name] = tool

    def find(self, name: str) -> Tool:
        """Give a tool.

        Raises:
            UnknownToolError: With the nearest names.
        """
        tool = self._tools.get(name)
        if tool is None:
            near = difflib.get_close_matches(name, self._tools, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(self._tools))}"
            raise UnknownToolError(f"there is no tool {name!r}; {hint}")
        return tool

    def descriptions(self) -> tuple[ToolDescription, ...]:
        """What `hermes.tools()` shows."""
        return tuple(describe(tool) for tool in self._tools.values())

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterable[str]:  # type: ignore[override]
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)


def load_tools() -> Registry:
    """Give the built-in tools and those of installed distributions.

    Raises:
        ConfigurationError: An entry point that can't be loaded or is no tool: naming it beats silently lacking it.
    """
    registry = Registry(kind() for kind in BUILT_IN)
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            kind = entry_point.load()
            if not (inspect.isclass(kind) and issubclass(kind, Tool)):
                raise TypeError(f"{entry_point.value} is no subclass of host_bridge.tools.interface.Tool")
            registry.add(kind())
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"the tool {entry_point.name!r} ({entry_point.value}) can't be loaded: {error}; "
                "repair or uninstall its distribution",
                key=entry_point.name,
            ) from error
    return registry


def describe(tool: Tool) -> ToolDescription:
    """Give a tool's description from its argument struct."""
    hints = get_type_hints(tool.Arguments)
    return ToolDescription(
        name=tool.name,
        summary=tool.summary,
        parameters=tuple(
            Parameter(
                name=field.name,
                type=_spelling(hints[field.name])[:256],
                required=field.required,
                default="" if field.required else _default(field),
            )
            for field in msgspec.structs.fields(tool.Arguments)
        ),
    )


def _spelling(annotation: object) -> str:
    if annotation == bytes | Upload:
        return "bytes"
    if get_origin(annotation) in (Union, types.UnionType):  # `Optional[float]` where a bound is declared with it
        return " | ".join(map(_spelling, get_args(annotation)))
    if annotation is types.NoneType:
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return repr(value)[:256]
