"""From the options `-p -r -f -y -b` to one dictionary of parameters; what stands nearer to the person's hand wins."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Pairs = tuple[tuple[str, str], ...]

_CONSTANTS = {"True": True, "False": False, "None": None}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")  # neither 007 nor 1_000: those are names more often than numbers
_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")


def parameter_options(function: Decorated) -> Decorated:
    """Add papermill's five ways to give parameters."""
    for option in (
        click.option("-b", "--parameters-base64", "encoded", multiple=True, metavar="TEXT", help="YAML in base64."),
        click.option("-y", "--parameters-yaml", "texts", multiple=True, metavar="YAML", help="YAML text."),
        click.option("-f", "--parameters-file", "files", multiple=True, metavar="FILE", help="A YAML file."),
        click.option(
            "-r",
            "--parameter-raw",
            "raw",
            nargs=2,
            multiple=True,
            metavar="NAME VALUE",
            help="A parameter, always text.",
        ),
        click.option(
            "-p",
            "--parameter",
            "typed",
            nargs=2,
            multiple=True,
            metavar="NAME VALUE",
            help="A parameter; True, False, None and numbers are what they look like.",
        ),
    ):
        function = option(function)
    return function


def gather(
    *, encoded: Iterable[str], files: Iterable[str], texts: Iterable[str], typed: Pairs, raw: Pairs
) -> dict[str, Any]:
    """Merge all parameters, in papermill's order: base64, files, YAML texts, `-p`, `-r`; the later wins.

    Raises:
        click.UsageError: Something isn't YAML, or isn't a mapping.
    """
    parameters: dict[str, Any] = {}
    for text in encoded:
        parameters |= _mapping(_decoded(text), "--parameters-base64")
    for path in files:
        parameters |= _mapping(_read(path), path)
    for text in texts:
        parameters |= _mapping(text, "--parameters-yaml")
    parameters |= {name: guess(value) for name, value in typed}
    parameters |= dict(raw)
    return parameters


def guess(text: str) -> Any:
    """Give the value that text on a command line most likely means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise click.UsageError(f"--parameters-base64 is not base64 of UTF-8 text: {error}") from None


def _read(path: str) -> str:
    if "://" in path:
        from papermill.iorw import papermill_io  # its handlers know the remote places

        return "".join(papermill_io.read(path))
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text: {error}") from None


def _mapping(text: str, source: str) -> dict[str, Any]:
    import yaml

    loader = yaml.SafeLoader(text)
    # Dates stay text, as with papermill: a notebook's parameters are plain data.
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        value = loader.get_single_data()
    except yaml.YAMLError as error:
        raise click.UsageError(f"{source} is not YAML: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise click.UsageError(f"{source} must be a mapping of parameter names to values, not {type(value).__name__}")
    return value
