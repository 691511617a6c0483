"""Options several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

FILE = click.Path()
FOLDER = click.Path(file_okay=False)
"""Paths as options and arguments: a shell completes them. What can't be used is said by whoever uses it."""


class _Seconds(click.FloatRange):
    """A number of seconds. What is no number, or has no end, would make every comparison with a clock meaningless."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


SECONDS = _Seconds(min=0)

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def json_option(function: Decorated) -> Decorated:
    """Add `--json`; the command gets `as_json`. That errors are JSON too is `boundary.Invocation`'s business."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON for programs.")(function)


def debug_option(function: Decorated) -> Decorated:
    """Add `--debug`, which `boundary.Invocation` reads."""
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(function)


def policies_option(function: Decorated) -> Decorated:
    """Add `--policy`; the command gets `policies`."""
    return click.option("--policy", "policies", multiple=True, type=FILE, metavar="FILE", help="A policy file to add.")(
        function
    )


def allow_option(function: Decorated) -> Decorated:
    """Add `--allow`; the command gets `allow`."""
    return click.option("--allow", multiple=True, metavar="RULE", help="A rule to add, such as 'terminal(make test)'.")(
        function
    )


def cell_timeout_option(function: Decorated) -> Decorated:
    """Add `--cell-timeout`; the command gets `cell_timeout`."""
    return click.option("--cell-timeout", type=SECONDS, metavar="SECONDS", help="For each cell.")(function)
