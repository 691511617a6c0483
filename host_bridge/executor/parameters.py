"""A notebook's parameters: what it declares, and what it is given.

A notebook declares parameters by assignments in the cell tagged `parameters`:

    days: int = 7                        # how far back to look
    threshold = 0.9                      # type: float  alert above this
    since: date | None = None
    recipients: list[str]                # an annotation alone: has to be given
    token: "Secret" = ""                 # never appears in the output notebook

The comment behind a declaration, or above it, is its help. What is given is checked against the declared names and types
(`check_parameters`), and injected as source that restores it exactly (`render_parameters`).

A parameter is *secret* when any of these says so:

- its annotation names `Secret`: `"Secret"` (text), `"Secret[bytes]"` or `Annotated[str, "Secret"]`. Quoted, the annotation
  needs no import and does nothing at run time;
- its comment begins with the word, alone or set off by a sign: `token = ""  # secret: for the ticket system`;
- the notebook's metadata lists it: `metadata.hermes.secret_parameters = ["token"]` (also in the metadata of the cell).

A secret's value is not in the injected cell. It goes to the kernel in a request of its own, which no notebook stores, after
that cell; whatever the notebook prints of it is replaced when the notebook is saved (`redact`).
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from host_bridge.executor.documents import Document, joined, metadata_of, open_document
from host_bridge.executor.parameter_cells import Declaration, read_declarations, type_name
from host_bridge.executor.parameter_files import load_parameters
from host_bridge.executor.parameter_source import check_name, render_assignments, render_parameters
from host_bridge.executor.parameter_text import guess, read_text
from host_bridge.executor.parameter_types import MismatchError, ParameterError, parse_type
from host_bridge.executor.parameter_values import convert
from host_bridge.executor.redaction import Redactor, redact
from host_bridge.executor.scraps import plain_json

__all__ = [
    "Parameter",
    "ParameterError",
    "Redactor",
    "check_parameters",
    "describe_parameters",
    "find_parameters_cell",
    "inspect_parameters",
    "load_parameters",
    "parse_pairs",
    "parse_parameter",
    "redact",
    "render_assignments",
    "render_parameters",
    "split_secrets",
]

_TAG = "parameters"


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        type: As annotated, or the default's own; empty where neither tells, and then anything is taken.
        default: The default's value. None where there is none, where only running the cell would tell, and for a secret.
        help: The comment that goes with it.
        secret: Whether its value must not appear anywhere.
        required: Whether a value has to be given.
        default_source: The default as written; empty where there is none, and for a secret.
    """

    name: str
    type: str = ""
    default: Any = None
    help: str = ""
    secret: bool = False
    required: bool = False
    default_source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {**dataclasses.asdict(self), "default": plain_json(self.default)}


def find_parameters_cell(notebook: Document | str | os.PathLike[str]) -> int | None:
    """Give the index of the cell tagged `parameters`, the first if several are; None if none is.

    Raises:
        UnreadableNotebookError: The path names no notebook.
    """
    for index, cell in enumerate(open_document(notebook)["cells"]):
        tags = metadata_of(cell).get("tags")
        if isinstance(tags, list | tuple) and _TAG in tags:
            return index
    return None


def inspect_parameters(notebook: Document | str | os.PathLike[str]) -> dict[str, Parameter]:
    """Read the parameters a notebook declares, by name; empty where it declares none.

    Raises:
        UnreadableNotebookError: The path names no notebook.
        ParameterError: The parameters cell isn't Python.
    """
    document = open_document(notebook)
    index = find_parameters_cell(document)
    cell = {} if index is None else document["cells"][index]
    declarations = read_declarations(joined(cell.get("source")))
    secrets = [*_listed_secrets(document), *_listed_secrets(cell)]
    parameters = {declaration.name: _parameter(declaration, secrets) for declaration in declarations}
    for name in secrets:
        parameters.setdefault(name, Parameter(name, secret=True))
    return parameters


def _listed_secrets(thing: Any) -> list[str]:
    ours = metadata_of(thing).get("hermes")
    names = ours.get("secret_parameters") if isinstance(ours, Mapping) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list | tuple) else []


def _parameter(found: Declaration, secrets: Iterable[str]) -> Parameter:
    secret = found.is_secret or found.name in secrets
    return Parameter(
        name=found.name,
        type=found.type,
        default=None if secret else found.default,
        help=found.help,
        secret=secret,
        required=found.is_required,
        default_source="" if secret else found.default_source,
    )


def check_parameters(
    declared: Mapping[str, Parameter], given: Mapping[str, Any], allow_unknown: bool = False
) -> dict[str, Any]:
    """Check what is given against what is declared, and give it in the declared types.

    Args:
        declared: From `inspect_parameters`.
        given: Values by name. Where their source could not say a type (YAML, JSON), the nearest it can say is converted: a
            list for a tuple or a set, ISO text for a date, text for a path, an int for a float.
        allow_unknown: Whether names that aren't declared are passed on as they are.

    Raises:
        ParameterError: A name can't be a parameter or isn't declared, a value has another type than the declared one, or a
            required one is missing. One error names all of them.
    """
    checked: dict[str, Any] = {}
    problems: list[ParameterError] = []
    for name, value in given.items():
        try:
            check_name(name)
            checked[name] = _check(declared, name, value, allow_unknown)
        except ParameterError as error:
            problems.append(error)
    for name, parameter in declared.items():
        if parameter.required and name not in given:
            kind = f" ({parameter.type})" if parameter.type else ""
            problems.append(ParameterError(f"parameter {name!r}{kind} has no default: give it a value", name=name))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ParameterError("; ".join(map(str, problems)), name=problems[0].name)
    return checked


def _check(declared: Mapping[str, Parameter], name: str, value: Any, allow_unknown: bool) -> Any:
    parameter = declared.get(name)
    if parameter is None:
        if allow_unknown:
            return value
        raise _unknown(declared, name)
    try:
        return convert(parse_type(parameter.type), value)
    except MismatchError as error:
        raise _mismatch(parameter, value, str(error)) from None


def _unknown(declared: Mapping[str, Parameter], name: str) -> ParameterError:
    if not declared:
        hint = "it declares none: give a cell the tag 'parameters' and assign the defaults there"
    else:
        close = difflib.get_close_matches(name, declared, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it declares {', '.join(map(repr, declared))}"
    return ParameterError(f"the notebook has no parameter {name!r}; {hint}", name=name)


def _mismatch(parameter: Parameter, value: Any, expected: str) -> ParameterError:
    # The value of a secret has no place in an error message, which ends up in logs; nor has one given for its name.
    hidden = parameter.secret or parse_type(parameter.type).kind == "handle"
    shown = f"a {type(value).__name__}" if hidden else f"{value!r:.80} ({type(value).__name__})"
    hint = ""
    if parameter.default is not None and parameter.type == type_name(parameter.default):
        hint = f", like its default {parameter.default_source:.80}; annotate it in the notebook to take other types"
    return ParameterError(f"parameter {parameter.name!r} takes {expected}, not {shown}{hint}", name=parameter.name)


def parse_parameter(text: str, declared: Parameter | None) -> Any:
    """Read a value from the text of a command line, as its declared type reads.

    `str` takes the text as it is; lists, tuples, sets and dicts are JSON or Python; dates and times are ISO; booleans are
    true/false, yes/no, on/off, 1/0; `None` is None where the type allows it. Where no type is known, numbers, booleans and
    None are recognised and everything else is text.

    Raises:
        ParameterError: The text says no value of that type.
    """
    if declared is None:
        return guess(text)
    try:
        return read_text(parse_type(declared.type), text)
    except MismatchError as error:
        hidden = declared.secret or parse_type(declared.type).kind == "handle"
        shown = "what was given" if hidden else repr(text[:80])
        example = _EXAMPLES.get(str(error).partition("[")[0], "")
        hint = f"; write for example {example}" if example else ""
        raise ParameterError(
            f"parameter {declared.name!r} takes {error}, not {shown}{hint}", name=declared.name
        ) from None


_EXAMPLES = {
    "bool": "true or false",
    "date": "2024-12-31",
    "datetime": "2024-12-31T23:59:59",
    "dict": "'{\"key\": 1}'",
    "list": "'[1, 2]'",
    "set": "'[1, 2]'",
    "time": "23:59:59",
    "timedelta": "the number of seconds",
    "tuple": "'[1, 2]'",
}


def parse_pairs(declared: Mapping[str, Parameter], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Read `-p name value` pairs; the last of a name counts.

    Raises:
        ParameterError: A text says no value of its parameter's type.
    """
    return {name: parse_parameter(text, declared.get(name)) for name, text in pairs}


def split_secrets(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split checked parameters into `(plain, secret)`: what may be written down, and what must not."""
    plain: dict[str, Any] = {}
    secret: dict[str, Any] = {}
    for name, value in given.items():
        parameter = declared.get(name)
        (secret if parameter is not None and parameter.secret else plain)[name] = value
    return plain, secret


def describe_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Give plain parameters as JSON, for `metadata.papermill.parameters` and reports; what JSON can't say becomes text."""
    return {name: plain_json(value) for name, value in parameters.items()}
