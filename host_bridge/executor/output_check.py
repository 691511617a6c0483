"""Comparing what a cell put out with what the notebook says it does: nbval's markers, sanitizers and comparison.

nbval itself is a pytest plug-in that runs the notebook in a kernel of its own: it can't interrupt a cell that hangs, and knows
no tape. So the notebook is run here, and nbval judges the outputs; its judge wants a pytest session around it, and gets as much
of one as it looks at.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import re
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from host_bridge.errors import NotebookError

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NOT_COMPARED = (
    *("metadata", "traceback", "prompt_number", "output_type", "name", "execution_count"),
    *("application/vnd.jupyter.widget-view+json", "image/png", "image/jpeg"),  # as nbval without its option for nbdime
)
_MAX_DIFFERENCE_CHARACTERS = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class Expectation:
    """What a cell's markers and tags say of it.

    Attributes:
        compares: Whether its outputs have to be those in the notebook.
        is_skipped: Whether it isn't run.
        may_raise: Whether an exception is what is expected.
    """

    compares: bool
    is_skipped: bool
    may_raise: bool


def read_expectation(cell: NotebookNode, *, strict: bool) -> Expectation:
    """Read nbval's comments (`# NBVAL_CHECK_OUTPUT`, …) and tags (`nbval-check-output`, …)."""
    from nbval.plugin import find_comment_markers, find_metadata_tags

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about markers that contradict one another: the comment counts, as in nbval
        options = {**dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}
    return Expectation(
        bool(options.get("check", strict)), bool(options.get("skip")), bool(options.get("check_exception"))
    )


def read_sanitizers(path: str) -> dict[str, str]:
    """Read nbval's file of sanitizers: `regex: …` and `replace: …` in turns.

    Raises:
        NotebookError: It can't be read, or has no such lines, or one is no regular expression.
    """
    from nbval.plugin import get_sanitize_patterns

    try:
        patterns = dict(get_sanitize_patterns(Path(path).read_text(encoding="utf-8")))
        for pattern in patterns:
            re.compile(pattern)
    except (OSError, UnicodeDecodeError, re.error) as error:
        raise NotebookError(f"can't use the sanitizers of {path}: {error}", path=path) from None
    if not patterns:
        raise NotebookError(
            f"{path} has no sanitizers: write lines `regex: …`, each followed by `replace: …`", path=path
        )
    return patterns


class OutputCheck:
    """Compares outputs as nbval does.

    Args:
        sanitizers: What to replace on both sides before comparing, by regular expression.
    """

    def __init__(self, sanitizers: Mapping[str, str]) -> None:
        from nbval.plugin import IPyNbCell, nocolors

        hooks = types.SimpleNamespace(pytest_assertrepr_compare=_no_reports)
        make: Any = object.__new__  # not its own constructor, which wants a session
        self._judge: Any = make(type("Judge", (IPyNbCell,), {"ihook": hooks}))
        self._judge.parent = types.SimpleNamespace(skip_compare=_NOT_COMPARED, sanitize_patterns=dict(sanitizers))
        self._judge.config = None
        self._judge.colors = nocolors

    def compare(self, expected: NotebookNode, got: NotebookNode) -> tuple[str, str]:
        """Compare a cell's outputs.

        Returns:
            What is wrong, in nbval's words, and the difference line by line; both empty where nothing is.
        """
        from nbval.plugin import coalesce_streams

        references, outputs = (coalesce_streams(copy.deepcopy(cell.get("outputs", []))) for cell in (expected, got))
        if self._judge.compare_outputs(outputs, references):
            return "", ""
        said = _COLOURS.sub("", "\n".join(map(str, self._judge.comparison_traceback))).strip()
        return said or "outputs differ", self._difference(references, outputs)

    def _difference(self, references: list[NotebookNode], outputs: list[NotebookNode]) -> str:
        before, after = (self._lines(side) for side in (references, outputs))
        text = "\n".join(difflib.unified_diff(before, after, "in the notebook", "now", lineterm=""))
        return text[:_MAX_DIFFERENCE_CHARACTERS]

    def _lines(self, outputs: list[NotebookNode]) -> list[str]:
        lines: list[str] = []
        for output in outputs:
            for key, value in {**output, **output.get("data", {})}.items():
                if key in _NOT_COMPARED or key == "data":
                    continue
                label = output.get("name", key) if key == "text" else key
                text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
                lines += [f"{label}: {line}" for line in str(self._judge.sanitize(text)).splitlines()]
        return lines


def _no_reports(**_: Any) -> list[Any]:
    return []
