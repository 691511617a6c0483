"""Cells that narrow themselves by tags: `hermes:narrow=read_file(data/**)`, one rule each.

Read before anything runs, so that a notebook with a tag that can't be meant doesn't run half.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from host_bridge.errors import NotebookError, PolicyError

PREFIX = "hermes:"
NARROW = "narrow"
_INJECTED = "injected-parameters"


def narrowing_of(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the rules that a cell's calls are narrowed to; none when it has no such tag."""
    named = [tag.removeprefix(PREFIX).partition("=") for tag in tags_of(cell) if tag.startswith(PREFIX)]
    return tuple(rule for name, _, rule in named if name == NARROW)


def check_narrowing(notebook: Mapping[str, Any], host_tools: Collection[str] = ()) -> None:
    """Refuse a notebook with tags that can't be meant.

    Args:
        notebook: It, or a document of which nothing is known yet.
        host_tools: Names of tools that the host application provides.

    Raises:
        NotebookError: Names the cell.
    """
    cells = notebook.get("cells")
    own = [cell for cell in (cells if isinstance(cells, list) else ()) if _INJECTED not in tags_of(cell)]
    for index, cell in enumerate(own):
        for tag in tags_of(cell):
            if tag.startswith(PREFIX) and (problem := _problem(tag.removeprefix(PREFIX), host_tools)):
                raise NotebookError(f"cell {index}: the tag {tag[:300]!r}: {problem}", cell_index=index)


def tags_of(cell: Any) -> list[str]:
    """Give a cell's tags, of a document of which nothing is known yet."""
    metadata = cell.get("metadata") if isinstance(cell, Mapping) else None
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _problem(tag: str, host_tools: Collection[str]) -> str:
    name, separator, rule = tag.partition("=")
    if name != NARROW:
        # A slip of the pen must not let a cell do what it was not to do.
        near = difflib.get_close_matches(name, [NARROW], n=1, cutoff=0.7)
        return f"did you mean {PREFIX}{NARROW}=…?" if near else ""
    if not separator or not rule:
        return f"write a rule behind it, as in {PREFIX}{NARROW}=read_file(./data/**)"
    from host_bridge.narrowing import check_tools  # few notebooks need the policy's parts here
    from host_bridge.policy.loading import narrowing_layer
    from host_bridge.tools.registry import load_tools

    try:
        narrowing_layer((rule,))
        check_tools((rule,), {*load_tools(), *host_tools})
    except PolicyError as error:
        return str(error).partition(": ")[2] or str(error)
    return ""
