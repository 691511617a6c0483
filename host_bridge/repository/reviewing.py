"""What a change of notebooks comes to, for whoever decides about it: one page, and a summary as text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from host_bridge.errors import NotebookError
from host_bridge.repository.git import Git, GitError
from host_bridge.repository.markdown import code, cut
from host_bridge.repository.proposing import RUNS
from host_bridge.repository.summary import change_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.executor.changes import NotebookChanges
    from host_bridge.repository.forges.interface import Forge

_NUMBER = re.compile(r"#?([0-9]{1,9})")
MARK = "<!-- hermes-runtime review -->"


@dataclasses.dataclass(frozen=True, slots=True)
class Reviewed:
    """One notebook of a change.

    Attributes:
        path: Its path in the repository.
        before: As it was; an empty notebook if it wasn't there.
        after: As it is; an empty notebook if it is gone.
        problem: Why it can't be compared; empty if it can.
    """

    path: str
    before: NotebookNode
    after: NotebookNode
    changes: NotebookChanges
    problem: str = ""

    @property
    def is_run(self) -> bool:
        """Whether this is an executed notebook, kept as a record."""
        return RUNS in self.path.split("/")[:-1]


@dataclasses.dataclass(frozen=True, slots=True)
class Review:
    """A change that was looked at.

    Attributes:
        number: Of the pull request; None where a range of commits was given.
        base: The commit that both sides come from.
        head: The commit with the change.
    """

    title: str
    number: int | None
    base: str
    head: str
    notebooks: list[Reviewed]

    @property
    def gains(self) -> bool:
        """Whether some notebook may do more afterwards."""
        return any(change.kind == "gained" for one in self.notebooks for change in one.changes.permissions)

    def page(self) -> str:
        """Give the page: self-contained, without scripts."""
        from host_bridge.executor.diff_page import STYLE
        from host_bridge.executor.pages import page

        return page(self.title, self._sections(), style=STYLE)

    def text(self) -> str:
        """Give the summary, for a comment."""
        parts = [f"Review of {code(self.base[:12])} → {code(self.head[:12])}"]
        for one in self.notebooks:
            parts.append(f"## {code(one.path)}")
            if one.problem:
                parts.append(code(one.problem))
            elif one.is_run:
                parts.append(change_text(_only_results(one.changes), one.changes))
            else:
                parts.append(change_text(one.changes, None))
        if not self.notebooks:
            parts.append("No notebook changed.")
        return cut("\n\n".join([MARK, *parts]))  # first, where it is never cut off: by it the comment is found again

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON, without the notebooks themselves."""
        notebooks = [
            {"path": one.path, "problem": one.problem, "changes": dataclasses.asdict(one.changes)}
            for one in self.notebooks
        ]
        return {
            **{name: getattr(self, name) for name in ("title", "number", "base", "head", "gains")},
            "notebooks": notebooks,
        }

    def _sections(self) -> Iterator[str]:
        from host_bridge.executor.diff_page import diff_sections
        from host_bridge.executor.sanitising import safe_text

        yield f'<p class="note">{safe_text(self.base[:12])} → {safe_text(self.head[:12])}</p>'
        if not self.notebooks:
            yield "<p>No notebook changed.</p>"
        for one in self.notebooks:
            kind = "executed" if one.is_run else "written"
            yield f'<h2>{safe_text(one.path)}<span class="tag">{kind}</span></h2>'
            if one.problem:
                yield f"<p>{safe_text(one.problem)}</p>"
            else:
                yield from diff_sections(one.before, one.after, one.changes, level=3)


def review(git: Git, subject: str, *, forge: Forge | None = None, remote: str = "origin") -> Review:
    """Look at a change.

    Args:
        git: The repository.
        subject: `BASE..HEAD`, or a pull request's number.
        forge: Where pull requests are; needed for a number.
        remote: Where their commits are fetched from.

    Raises:
        GitError: There is no such change.
        ForgeError: The forge can't be asked.
    """
    match = _NUMBER.fullmatch(subject)
    if match is not None:
        if forge is None:
            raise GitError(f"{subject} is the number of a pull request, and no forge was given")
        number = int(match[1])
        wanted = forge.get(number)
        git.run("check-ref-format", f"refs/heads/{wanted.base}")  # the forge's word, and a refspec may have a target
        git.run("fetch", "--quiet", remote, f"refs/heads/{wanted.base}")
        base = git.text("rev-parse", "FETCH_HEAD")
        git.run("fetch", "--quiet", remote, forge.head_reference(number))
        return _reviewed(git, base, git.text("rev-parse", "FETCH_HEAD"), f"#{number} {wanted.title}", number)
    base, dots, head = subject.partition("..")
    if not dots or not base or base.startswith("-"):
        raise GitError(f"{subject!r} is no change: give BASE..HEAD, or the number of a pull request")
    head = head.removeprefix(".") or "HEAD"
    commits = [git.text("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}") for name in (base, head)]
    return _reviewed(git, commits[0], commits[1], subject, None)


def post(forge: Forge, number: int, found: Review) -> tuple[str, bool]:
    """Write a review's summary as a comment, or in place of an earlier one.

    Returns:
        The comment's address, and whether it is new.

    Raises:
        ForgeError: The forge can't be asked, or said no.
    """
    earlier = forge.find_comment(number, MARK)
    if earlier is None:
        return forge.comment(number, found.text()), True
    return forge.update_comment(number, earlier, found.text()), False


def _reviewed(git: Git, base: str, head: str, title: str, number: int | None) -> Review:
    common = git.text("merge-base", base, head)
    paths = git.fields("diff", "--name-only", "-z", "--no-renames", common, head, "--", "*.ipynb")
    notebooks = [_notebook(git, common, head, path) for path in paths]
    notebooks.sort(key=lambda one: (one.is_run, one.path))  # what somebody wrote comes before what came of it
    return Review(title, number, common, head, notebooks)


def _notebook(git: Git, base: str, head: str, path: str) -> Reviewed:
    from nbformat.v4 import new_notebook

    from host_bridge.executor.changes import summarise
    from host_bridge.executor.notebooks import parse_notebook

    versions = []
    problem = ""
    for revision in (base, head):
        text = git.show(revision, path)
        try:
            versions.append(new_notebook() if text is None else parse_notebook(text, path))
        except NotebookError as error:
            versions.append(new_notebook())
            problem = str(error)
    return Reviewed(path, versions[0], versions[1], summarise(versions[0], versions[1]), problem)


def _only_results(changes: NotebookChanges) -> NotebookChanges:
    """A record repeats the cells, parameters and permissions of the notebook that was run."""
    return dataclasses.replace(changes, cells=[], parameters=[], permissions=[])
