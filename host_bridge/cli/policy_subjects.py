"""What a call would be about: the tool itself says so, by preparing the call that the subject stands for."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
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


def named(arguments: Iterable[str]) -> dict[str, str]:
    """Take `NAME=VALUE` apart.

    Raises:
        click.UsageError: One isn't of that form.
    """
    pairs = [argument.partition("=") for argument in arguments]
    for name, sign, _ in pairs:
        if not sign:
            raise click.UsageError(f"{name!r}: write further arguments as NAME=VALUE")
    return {name: value for name, _, value in pairs}


def prepared_resources(
    name: str, subject: str | None, arguments: Mapping[str, str], workspace: str
) -> tuple[Resource, ...]:
    """Give what the policy would look at.

    Args:
        name: The tool's.
        subject: The value of its first argument, `path` where it has one; for requests a method and a URL.
        arguments: Further arguments as text.
        workspace: The session's.

    Raises:
        CallError: There is no such tool, or the call can't be meant (a file that doesn't exist).
        click.UsageError: The subject is missing, or an argument doesn't fit.
    """
    from host_bridge.config import load_config
    from host_bridge.tools.registry import load_tools

    tool = load_tools().find(name)
    call = tool.prepare(_arguments(tool, subject, arguments), Workplace(workspace, settings=load_config().tools))
    try:
        return call.resources
    finally:
        call.close()


def _arguments(tool: Tool, subject: str | None, given: Mapping[str, str]) -> Any:
    import msgspec

    from hermes_protocol.misfits import explain
    from host_bridge.policy.methods import METHOD_TOOLS, split_request

    fields = {field.name: field for field in msgspec.structs.fields(tool.Arguments)}
    hints = get_type_hints(tool.Arguments)
    chosen = "path" if "path" in fields else next(iter(fields), "")
    values: dict[str, Any] = dict(given)
    if subject is not None and tool.name in METHOD_TOOLS:
        values["method"], values["url"] = split_request(subject)
    elif subject is not None:
        is_list = any(kind in str(hints.get(chosen)) for kind in ("tuple[", "list["))
        values[chosen] = [subject] if is_list else subject
    elif chosen in fields and fields[chosen].required:
        raise click.UsageError(f"{tool.name} needs a SUBJECT, its argument {chosen!r}")
    if "content" in fields:
        values.setdefault("content", b"")  # no rule looks at it
    try:
        return msgspec.convert(values, type=tool.Arguments, strict=False)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{tool.name}: {explain(error, tool.Arguments)}") from None
