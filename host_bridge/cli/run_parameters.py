"""The options by which `run` takes parameters: papermill's, and one that keeps a secret off the command line."""

from __future__ import annotations

import base64
import binascii
import functools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from host_bridge.cli.options import FILE
from host_bridge.cli.output import print_json, table

if TYPE_CHECKING:
    from host_bridge.executor.parameters import Parameter

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Pairs = tuple[tuple[str, str], ...]

_OPTIONS = (
    click.option(
        "-p",
        "--parameter",
        "typed",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="A parameter, read as the type the notebook declares for it.",
    ),
    click.option(
        "-r", "--parameter-raw", "raw", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter that is text."
    ),
    click.option(
        "-f",
        "--parameters-file",
        "files",
        multiple=True,
        type=FILE,
        metavar="FILE",
        help="Parameters from a YAML file.",
    ),
    click.option("-y", "--parameters-yaml", "texts", multiple=True, metavar="YAML", help="Parameters as YAML text."),
    click.option(
        "-b", "--parameters-base64", "encoded", multiple=True, metavar="TEXT", help="Parameters as YAML in base64."
    ),
    click.option(
        "--secret",
        "secrets",
        nargs=2,
        multiple=True,
        metavar="NAME VARIABLE",
        help="A parameter declared secret, from an environment variable: other users see a command's arguments.",
    ),
    click.option("--allow-unknown-parameters", is_flag=True, help="Take parameters the notebook doesn't declare."),
)


_GIVEN = ("typed", "raw", "files", "texts", "encoded", "secrets")


def parameter_options(function: Decorated) -> Decorated:
    """Add the options; the command gets what was given as `given`, for `gather`, and `allow_unknown_parameters`."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        given = {name: values.pop(name) for name in _GIVEN}
        return function(**values, given=given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return cast(Decorated, command)


def gather(
    declared: Mapping[str, Parameter],
    *,
    files: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
    encoded: tuple[str, ...] = (),
    typed: Pairs = (),
    raw: Pairs = (),
    secrets: Pairs = (),
) -> dict[str, Any]:
    """Merge all parameters: files, then YAML texts, then single values; the later wins.

    Args:
        declared: The notebook's own parameters.
        files: Paths of YAML files; remote ones are read as papermill reads them.
        texts: YAML.
        encoded: YAML in base64.
        typed: Read by their declared types.
        raw: Text as it is.
        secrets: Names, and the environment variables that hold their values.

    Raises:
        click.UsageError: Something isn't base64, a variable isn't set, or its parameter isn't secret.
        ParameterError: Something isn't YAML, isn't a mapping, or isn't of the declared type.
    """
    from host_bridge.executor.parameters import load_parameters, parse_pairs

    return load_parameters(
        files=files,
        texts=[*texts, *map(_decoded, encoded)],
        values=[
            parse_pairs(declared, typed),
            dict(raw),
            {name: _from_environment(declared, name, variable) for name, variable in secrets},
        ],
        read=_read_remote if any("://" in path for path in files) else None,
    )


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise click.UsageError(f"--parameters-base64 is not base64 of UTF-8 text: {error}") from None


def _from_environment(declared: Mapping[str, Parameter], name: str, variable: str) -> Any:
    from host_bridge.executor.parameters import parse_parameter

    parameter = declared.get(name)
    if parameter is None or not parameter.secret:
        raise click.UsageError(
            f"--secret {name}: the notebook doesn't declare {name!r} as secret, so its value would be saved; "
            f'annotate it there: {name}: "Secret" = ""'
        )
    if variable not in os.environ:
        raise click.UsageError(f"--secret {name}: the environment variable {variable} is not set")
    return parse_parameter(os.environ[variable], parameter)


def _read_remote(path: str) -> str:
    from host_bridge.executor.reading import read_text

    return read_text(path)


def show_parameters(declared: Mapping[str, Parameter], as_json: bool) -> None:
    """Write what a notebook declares."""
    if as_json:
        print_json({name: parameter.to_dict() for name, parameter in declared.items()})
    elif not declared:
        click.echo("no parameters: no cell is tagged `parameters`")
    else:
        click.echo(table((name, one.type or "Any", _default(one), one.help) for name, one in declared.items()))


def _default(parameter: Parameter) -> str:
    if parameter.secret:
        return "(secret)"
    return "(required)" if parameter.required else parameter.default_source
