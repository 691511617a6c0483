"""Whether a repository keeps its notebooks clean: what `init-repo --check` says, here and in CI.

What counts is what is committed. A clone's own configuration is not, so that it isn't set up is a remark, not a failure: in CI
it never is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from host_bridge.errors import HostBridgeError, NotebookError
from host_bridge.repository.git import Git
from host_bridge.repository.setup import NAME, steps_to_set_up

_ATTRIBUTES = ("filter", "diff", "merge")
_UNSET_FOR_RUNS = ("filter", "merge")


@dataclasses.dataclass(frozen=True, slots=True)
class RepositoryCheck:
    """What was found. True when all is well.

    Attributes:
        problems: What anybody who clones this has; empty when all is well.
        notes: What concerns this clone only.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return {"clean": bool(self), **dataclasses.asdict(self)}


def check_repository(git: Git) -> RepositoryCheck:
    """Check a repository's settings, and the notebooks in its index.

    Raises:
        GitError: git can't be asked.
    """
    check = RepositoryCheck()
    try:
        steps = steps_to_set_up(git)
    except HostBridgeError as error:
        check.problems.append(str(error))
        steps = []
    for step in steps:
        (check.problems if step.is_committed else check.notes).append(f"to do: {step.what}")
    if check.notes:
        check.notes.append("this clone isn't set up: `hermes-runtime init-repo` does it")
    notebooks = git.fields("ls-files", "-z", "--cached", "--", "*.ipynb")
    filtered = set(_filtered(git, notebooks, check.problems))
    for path in notebooks:
        text = git.show("", path)
        if text is None:
            check.problems.append(f"{path}: in conflict; resolve it and add it")
        else:
            check.problems.extend(_problems_of(path, text, strips=path in filtered))
    return check


def _filtered(git: Git, paths: list[str], problems: list[str]) -> Iterator[str]:
    """Give the notebooks that are to be stripped, and say of which another line has the last word."""
    if not paths:
        return
    listed = git.run("check-attr", "-z", "--stdin", *_ATTRIBUTES, input_text="\0".join(paths) + "\0").stdout.split("\0")
    for path, attribute, value in zip(listed[0::3], listed[1::3], listed[2::3], strict=False):
        if attribute == "filter" and value == NAME:
            yield path
        elif value not in (NAME, "unspecified") and not (attribute in _UNSET_FOR_RUNS and value == "unset"):
            problems.append(f"{path}: another line of .gitattributes sets {attribute}={value}")


def _problems_of(path: str, text: str, *, strips: bool) -> Iterable[str]:
    from host_bridge.executor.imports import import_jsonschema_lightly

    import_jsonschema_lightly()
    from host_bridge.executor.merging import undecided
    from host_bridge.executor.stripping import strip_text

    try:
        stripped = strip_text(text, path)
    except NotebookError as error:
        yield str(error)
        return
    if strips and json.loads(stripped) != json.loads(text):
        yield f"{path}: committed with outputs or records of a run; `git add --renormalize {path}` strips it"
    document = json.loads(text)
    for where in undecided(document) if isinstance(document.get("cells"), list) else ():
        yield f"{path}: {where} has an unresolved conflict (metadata.hermes.conflict)"
