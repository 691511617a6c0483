"""Putting parameters into a notebook the way papermill's readers expect to find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from host_bridge.executor.choice import language_of
from host_bridge.executor.parameter_source import check_name
from host_bridge.executor.parameters import (
    Parameter,
    ParameterError,
    check_parameters,
    describe_parameters,
    inspect_parameters,
    render_parameters,
    split_secrets,
)

DECLARING_TAG = "parameters"
INJECTED_TAG = "injected-parameters"
ERROR_MARKER_TAG = "papermill-error-cell-tag"


def drop_error_markers(notebook: NotebookNode) -> None:
    """Remove the cells by which papermill marked an earlier failure."""
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in _tags(cell)]


def inject(notebook: NotebookNode, plain: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
    """Inject a cell that sets the plain parameters and only names the secret ones.

    It takes the place of an earlier one, or stands behind the cell that declares the parameters, or first.
    """
    cell = new_code_cell(render_parameters(plain, secrets=tuple(secrets)))
    cell.metadata["tags"] = [INJECTED_TAG]
    earlier = find_tagged(notebook, INJECTED_TAG)
    if earlier is not None:
        notebook.cells[earlier] = cell
    else:
        declaring = find_tagged(notebook, DECLARING_TAG)
        notebook.cells.insert(0 if declaring is None else declaring + 1, cell)
    _papermill(notebook)["parameters"] = describe_parameters(plain)


def take_over(notebook: NotebookNode) -> dict[str, Any]:
    """Write again what papermill has just injected: with the types the values have, and without the secrets among them.

    Returns:
        The secrets.

    Raises:
        ParameterError: A name that papermill wrote into the notebook as code is no name.
    """
    given = _papermill(notebook).get("parameters") or {}
    for name in given:
        check_name(name)
    cell = _just_injected(notebook)
    if cell is None or (language_of(notebook.metadata) or "python") != "python":
        return {}
    declared = inspect_parameters(notebook)
    plain, secrets = split_secrets(declared, {name: _typed(declared, name, value) for name, value in given.items()})
    cell.source = render_parameters(plain, secrets=tuple(secrets))
    _papermill(notebook)["parameters"] = describe_parameters(plain)
    return secrets


def _just_injected(notebook: NotebookNode) -> NotebookNode | None:
    """Give the cell that papermill made for this run. What it read from the file, it marked while reading."""
    place = find_tagged(notebook, INJECTED_TAG)
    if place is None or "papermill" in notebook.cells[place].metadata:
        return None
    cell: NotebookNode = notebook.cells[place]
    return cell


def _typed(declared: Mapping[str, Parameter], name: str, value: Any) -> Any:
    """Give a value in its declared type, where papermill's way of keeping it has lost that and it can be told."""
    try:
        return check_parameters({name: declared[name]}, {name: value})[name] if name in declared else value
    except ParameterError:
        return value  # papermill takes any


def place_of_parameters(notebook: NotebookNode) -> int | None:
    """Give the cell after which all parameters are set; None where no cell sets any."""
    injected = find_tagged(notebook, INJECTED_TAG)
    return injected if injected is not None else find_tagged(notebook, DECLARING_TAG)


def find_tagged(notebook: NotebookNode, tag: str) -> int | None:
    """Give the index of the first cell with a tag."""
    return next((index for index, cell in enumerate(notebook.cells) if tag in _tags(cell)), None)


def _papermill(notebook: NotebookNode) -> dict[str, Any]:
    """Give the notebook's papermill section, made as papermill makes it."""
    section = notebook.metadata.get("papermill")
    if not isinstance(section, dict):
        from importlib.metadata import version

        section = NotebookNode(
            default_parameters={}, parameters={}, environment_variables={}, version=version("papermill")
        )
        notebook.metadata["papermill"] = section
    return notebook.metadata["papermill"]  # type: ignore[no-any-return]


def _tags(cell: NotebookNode) -> list[Any]:
    tags = cell.metadata.get("tags")
    return tags if isinstance(tags, list) else []
