"""Options several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from host_bridge.cli.boundary import Invocation

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _remember(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
        invocation = context.ensure_object(Invocation)
        if value:
            setattr(invocation, name, True)
        return value

    return remember


def json_option(function: Decorated) -> Decorated:
    """Add `--json`; eager, so that an error in the other arguments is JSON too. The command gets `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_remember("json"), help="Write JSON for programs."
    )(function)


def debug_option(function: Decorated) -> Decorated:
    """Add `--debug`."""
    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember("debug"),
        help="Show the traceback of an error.",
    )(function)
