"""What a call would be about: the tool itself says so, by preparing the call that the subject stands for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

import click

if TYPE_CHECKING:
    from host_bridge.policy.model import Resource
    from host_bridge.tools.interface import Tool


@dataclasses.dataclass(frozen=True)
class Workplace:
    """Just enough of a session to prepare a call in; see `host_bridge.tools.interface.Session`."""

    workspace: str
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    resources: dict[str, Any] = dataclasses.field(default_factory=dict)


def prepared_resources(name: str, subject: str | None, workspace: str) -> tuple[Resource, ...]:
    """Give what the policy would look at.

    Args:
        name: The tool's.
        subject: The value of its first argument, `path` where it has one.
        workspace: The session's.

    Raises:
        CallError: There is no such tool, or the call can't be meant (a file that doesn't exist).
        click.UsageError: The subject is missing, or the tool takes none.
    """
    from host_bridge.config import load_config
    from host_bridge.tools.registry import load_tools

    tool = load_tools().find(name)
    call = tool.prepare(_arguments(tool, subject), Workplace(workspace, settings=load_config().tools))
    try:
        return call.resources
    finally:
        call.close()


def _arguments(tool: Tool, subject: str | None) -> Any:
    import msgspec

    fields = {field.name: field for field in msgspec.structs.fields(tool.Arguments)}
    chosen = "path" if "path" in fields else next(iter(fields), None)
    if subject is None and chosen is not None and fields[chosen].required:
        raise click.UsageError(f"{tool.name} needs a SUBJECT, its argument {chosen!r}")
    hints = get_type_hints(tool.Arguments)
    values = {name: _filler(hints[name]) for name, field in fields.items() if field.required and name != chosen}
    if subject is not None:
        if chosen is None:
            raise click.UsageError(f"{tool.name} takes no SUBJECT")
        is_list = "tuple" in str(hints[chosen]) or "list" in str(hints[chosen])
        values[chosen] = [subject] if is_list else subject
    try:
        return msgspec.convert(values, type=tool.Arguments)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{tool.name}: {error}") from None


def _filler(hint: Any) -> Any:
    """Give a value that stands for an argument the policy doesn't look at."""
    return b"" if "bytes" in str(hint) else "x"
