"""Proposing a change of a notebook: a branch, a run, a comparison, a pull request.

    locate    the notebook, its repository, what it is compared with
    commit    the notebook without outputs, on the branch, in a working tree of its own
    run       it, there
    compare   with the base: as written, and as executed
    check     the notebook, and the outputs it promises
    record    the executed notebook, below `runs/`, on the branch
    push      the branch
    open      the pull request, or update the one that is open

A step that fails ends it; what was committed stays on the branch, and that is said. Doing it again goes on from there. Whoever
ends it before the branch is pushed takes it back: the branch is as it was, and what ran until then is kept elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from host_bridge.errors import HostBridgeError, ProposalCancelledError, ProposalError
from host_bridge.repository.git import Git, GitError
from host_bridge.repository.summary import proposal_text
from host_bridge.repository.worktrees import worktree
from host_bridge.signals import EndedBySignal

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from host_bridge.repository.forges.interface import Forge, PullRequest

RUNS = "runs"
KEPT_PREFIX = "hermes-cancelled-"
_PUBLIC_STEPS = ("push", "open")  # others may have seen the branch
_UNFIT = re.compile(r"[^a-zA-Z0-9._-]+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProposalOptions:
    """How to propose. All of it is optional.

    Attributes:
        branch: The branch; `agent/` and the notebook's name if empty.
        title: Of the pull request and the commit.
        base: The branch the change is for.
        remote: Where branches are pushed.
        parameters: For the runs.
        nbval: How outputs are compared: `off`, `lax` or `strict`.
        keep_tape: Commit the run's tape beside its record. It holds what the tools gave, in full.
        dry_run: Do everything but keep the branch, push it and open the pull request.
        run_options: Further options of the runs (`RunOptions`).
    """

    branch: str = ""
    title: str = ""
    base: str = "main"
    remote: str = "origin"
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    timeout: float | None = 300.0
    nbval: str = "lax"
    keep_tape: bool = False
    dry_run: bool = False
    run_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Proposed:
    """What came of it.

    Attributes:
        pull_request: None after a dry run.
        is_new: Whether it was opened now; else it was updated.
        commit: What is on the branch.
    """

    branch: str
    commit: str
    title: str
    body: str
    run: dict[str, Any]
    pull_request: PullRequest | None = None
    is_new: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON."""
        return dataclasses.asdict(self)


class _Stopped(Exception):  # noqa: N818 - no error: somebody wanted it
    """A run of the proposal was cancelled."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__()
        self.reason = str(result["error"]) + ("" if result["saved"] else " (and the run's end could not be saved)")
        self.signal_number: int | None = result["signal"]


class Proposal:
    """One notebook's proposal.

    Args:
        notebook: The notebook, as it is in the person's checkout: committed or not.
        options: How to propose.

    Raises:
        ProposalError: The notebook is in no repository.
    """

    def __init__(self, notebook: str, options: ProposalOptions) -> None:
        path = Path(notebook).resolve()
        self._options = options
        self._kept = ""
        self._before = ""
        self._made: list[str] = []
        self._work: Path | None = None
        with self._step("locate"):
            if not path.is_file():
                raise GitError(f"there is no notebook {notebook}")
            self.git = Git.at(path.parent)
            self._source = path
            self._path = path.relative_to(self.git.folder.resolve()).as_posix()
        name = _UNFIT.sub("-", PurePosixPath(self._path).with_suffix("").as_posix()).strip("-.")
        self.branch = options.branch or f"agent/{name}"
        self._record = f"{RUNS}/{PurePosixPath(self._path).with_suffix('').as_posix()}.ipynb"

    def propose(self, forge: Forge | None) -> Proposed:
        """Do it.

        Args:
            forge: Where to open the pull request; None for a dry run.

        Raises:
            ProposalError: A step failed.
            ProposalCancelledError: Somebody ended it.
        """
        with self._step("locate"):
            base, start = self._revisions()
            self._before = self._commit_of(self._reference)
        with contextlib.ExitStack() as stack:
            # What comes of a run lies where its kernel can't put anything else in its place.
            work = self._work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="propose-")))
            with self._step("commit"):
                tree = stack.enter_context(worktree(self.git, start))
                title, written = self._commit(tree, base, work / "notebook.ipynb")
            with self._step("run"):
                run = self._run(tree, work / "run.ipynb")
            with self._step("compare"):
                changes, runs, executed = self._compare(base, work)
            with self._step("check"):
                checks = self._check(work / "notebook.ipynb", executed)
            with self._step("record"):
                body = proposal_text(self._path, changes, runs, run=run, checks=checks, reproduce=self._commands())
                commit = self._record_run(written, work / "run.ipynb")
        proposed = Proposed(self.branch, commit, title, body, run)
        if forge is None:
            return proposed
        with self._step("push"):
            self.git.run("push", "--quiet", self._options.remote, f"{commit}:{self._reference}")
        with self._step("open"):
            return self._open(forge, proposed)

    # locate ------------------------------------------------------------------------------------------------------------

    def _revisions(self) -> tuple[str, str]:
        """Give the base's commit, and the one the branch goes on from."""
        options = self._options
        self.git.run("check-ref-format", "--branch", self.branch)
        if self.branch == options.base:
            raise GitError(f"{self.branch} is the base itself; name another branch")
        has_remote = options.remote in self.git.text("remote").split()
        if has_remote:
            self.git.run("fetch", "--quiet", options.remote)
        elif not options.dry_run:
            raise GitError(f"the repository has no remote {options.remote!r} to push to; add one, or try --dry-run")
        base = self._commit_of(f"refs/remotes/{options.remote}/{options.base}") or self._commit_of(
            f"refs/heads/{options.base}"
        )
        if not base:
            raise GitError(f"there is no branch {options.base!r}, neither at {options.remote!r} nor here")
        local = self._commit_of(self._reference)
        remote = self._commit_of(f"refs/remotes/{options.remote}/{self.branch}")
        if has_remote and remote and not self.git.text("ls-remote", options.remote, f"refs/heads/{self.branch}"):
            remote = ""  # deleted there, and remembered here
        checked_out = self.git.text("worktree", "list", "--porcelain").splitlines()
        if f"branch {self._reference}" in checked_out:
            raise GitError(f"the branch {self.branch} is checked out; leave it, or name another")
        if local and remote and local != remote:
            if self._is_ancestor(remote, local):
                return base, local
            if not self._is_ancestor(local, remote):
                raise GitError(
                    f"the branch {self.branch} here and at {options.remote} have gone different ways; settle that first"
                )
        start = remote or local or base
        # What was merged is over: the next proposal of the same name begins where the base is now.
        return base, base if self._is_ancestor(start, base) else start

    def _commit_of(self, reference: str) -> str:
        done = self.git.run("rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}", check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def _is_ancestor(self, old: str, new: str) -> bool:
        return self.git.run("merge-base", "--is-ancestor", old, new, check=False).returncode == 0

    # commit ------------------------------------------------------------------------------------------------------------

    def _commit(self, tree: Git, base: str, copy: Path) -> tuple[str, str]:
        """Commit the notebook as it is written, and give the proposal's title and the commit. The repository's hooks run."""
        from host_bridge.executor.stripping import strip_text

        text = strip_text(self._source.read_text(encoding="utf-8"), self._path)
        before = self.git.show(base, self._path)
        if before == text:
            raise GitError(f"there is nothing to propose: {self._path} is what {self._options.base} has")
        target = tree.folder / self._path
        if target.resolve() != tree.folder.resolve() / self._path:
            raise GitError(f"{self._path} lies behind a link in {self._options.base}; settle that first")
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in (target, copy):
            path.write_text(text, encoding="utf-8")
        title = self._options.title or f"{'Add' if before is None else 'Change'} {self._path}"
        tree.run("add", "--force", "--", self._path)
        if tree.run("diff", "--cached", "--quiet", check=False).returncode != 0:
            tree.run("commit", "--quiet", "-m", title)
        commit = tree.text("rev-parse", "HEAD")
        self._keep(commit)
        return title, commit

    def _record_run(self, parent: str, executed: Path) -> str:
        """Commit the executed notebook, and its tape if that is wanted.

        Not in the working tree: a kernel had it, and git would run hooks, filters and settings that it may have left there.
        """
        files = {self._record: executed}
        tape = executed.with_suffix(".tape")
        if self._options.keep_tape and tape.is_file():
            files[self._tape] = tape
        with tempfile.TemporaryDirectory(prefix="index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self.git.run("read-tree", parent, environment=index)
            for name, path in files.items():
                blob = self.git.text("hash-object", "-w", "--no-filters", "--", str(path))
                self.git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", environment=index)
            made = self.git.run("write-tree", environment=index).stdout.strip()
        commit = self.git.text("commit-tree", "-p", parent, "-m", f"Record a run of {self._path}", made)
        self._keep(commit)
        return commit

    def _keep(self, commit: str) -> None:
        """Have the branch lead to a commit."""
        if not self._options.dry_run:
            self._made.append(commit)  # first: what interrupts git may come after git has done it
            self._kept = self.branch
            self.git.run("update-ref", self._reference, commit)

    @property
    def _reference(self) -> str:
        return f"refs/heads/{self.branch}"

    @property
    def _tape(self) -> str:
        return f"{self._record.removesuffix('.ipynb')}.tape"

    # run ---------------------------------------------------------------------------------------------------------------

    def _run(self, tree: Git, output: Path) -> dict[str, Any]:
        result = self._execute(tree, output)
        if result["state"] == "cancelled":
            raise _Stopped(result)
        if result["state"] != "succeeded":
            failed = result["failed_cell"]
            where = (
                f" in cell {failed['index']}: {failed['ename']}: {failed['evalue']}"
                if failed
                else f": {result['error']}"
            )
            raise ProposalError(f"it {result['state'].replace('_', ' ')}{where}", step="run", state=result["state"])
        self._without_places(output)
        result["output_path"] = self._record
        return result

    def _without_places(self, output: Path) -> None:
        """Name files as the repository does: where the working tree was is nobody's business, and gone."""
        from host_bridge.executor.notebooks import read_notebook, write_notebook

        executed = read_notebook(output)
        papermill = executed.metadata.get("papermill", {})
        papermill.update(input_path=self._path, output_path=self._record)
        write_notebook(executed, output)

    def _execute(self, tree: Git, output: Path) -> dict[str, Any]:
        from host_bridge.executor import NotebookExecutor

        path = tree.folder / self._path
        options = {"cwd": tree.folder, **self._options.run_options}
        return NotebookExecutor().execute(path, output, self._options.parameters, self._options.timeout, **options)

    def _run_base(self, base: str, output: Path) -> bool:
        """Run the base's version, so that there is something to compare with; False if it doesn't succeed any more."""
        with worktree(self.git, base) as tree:
            try:
                result = self._execute(tree, output)
            except HostBridgeError:
                return False
        if result["state"] == "cancelled":
            raise _Stopped(result)
        return bool(result["state"] == "succeeded")

    # taking it back ----------------------------------------------------------------------------------------------------

    def _cancelled(self, step: str, reason: str, number: int | None) -> ProposalCancelledError:
        """Leave nothing of it where others look, and say what there is."""
        saved = self._save_run()
        text = f"cancelled at the step `{step}`: {reason}"
        if step in _PUBLIC_STEPS:
            text += f"; the branch {self.branch} has the proposal, and may have been pushed: do it again to finish it"
        elif self._put_back():
            text += "; nothing was proposed, and your branches are as they were"
        else:
            text += f"; nothing was proposed, and what was done is on the branch {self._kept}"
        text += f"; the executed notebook, as far as it got, is {saved}" if saved else ""
        return ProposalCancelledError(text, step=step, branch=self._kept, signal_number=number, saved=saved)

    def _save_run(self) -> str:
        """Keep what ran, with its tape; give where."""
        executed = None if self._work is None else self._work / "run.ipynb"
        if executed is None or not executed.is_file():
            return ""
        folder = tempfile.mkdtemp(prefix=KEPT_PREFIX)
        for path in (executed, executed.with_suffix(".tape")):
            if path.is_file():
                shutil.move(path, folder)
        return str(Path(folder, executed.name))

    def _put_back(self) -> bool:
        """Have the branch lead to where it led before; False if it can't be: somebody else moved it meanwhile."""
        current = self._commit_of(self._reference)
        if current in self._made:
            moved = [self._reference, self._before, current] if self._before else ["-d", self._reference, current]
            if self.git.run("update-ref", *moved, check=False).returncode != 0:
                return False
            current = self._before
        if current == self._before:
            self._kept = ""
        return not self._kept

    # compare and check -------------------------------------------------------------------------------------------------

    def _compare(self, base: str, work: Path) -> tuple[Any, Any, NotebookNode]:
        """Compare with the base, as written and as executed."""
        from nbformat.v4 import new_notebook

        from host_bridge.executor.changes import summarise
        from host_bridge.executor.notebooks import parse_notebook, read_notebook
        from host_bridge.executor.taped_changes import find_tape

        run, base_run = work / "run.ipynb", work / "base.ipynb"
        after, executed = read_notebook(work / "notebook.ipynb"), read_notebook(run)
        text = self.git.show(base, self._path)
        if text is None:
            return summarise(new_notebook(), after), None, executed
        changes = summarise(parse_notebook(text, self._path), after)
        if self.git.save(base, self._record, base_run):
            self.git.save(base, self._tape, base_run.with_suffix(".tape"))
        elif not self._run_base(base, base_run):
            return changes, None, executed
        recorded = read_notebook(base_run)
        tapes = (find_tape(base_run, recorded), find_tape(run, executed))
        return changes, summarise(recorded, executed, tapes), executed

    def _check(self, notebook: Path, executed: NotebookNode) -> str:
        from host_bridge.executor.validation import validate_executed

        found = validate_executed(notebook, executed, nbval=self._options.nbval)
        if not found:
            raise ProposalError("; ".join(found.problems), step="check")
        if not found.cells:
            return "The notebook is valid."
        return (
            f"The notebook is valid, and {len(found.cells)} code cells are as nbval's rules want them ({found.nbval})."
        )

    def _commands(self) -> Iterator[str]:
        yield f"git fetch {shlex.quote(self._options.remote)} {shlex.quote(self.branch)} && git checkout FETCH_HEAD"
        yield f"hermes-runtime run {shlex.quote(self._path)} out.ipynb{''.join(self._given())}"
        yield f"hermes-runtime diff {shlex.quote(self._record)} out.ipynb"

    def _given(self) -> Iterator[str]:
        from host_bridge.executor.parameters import inspect_parameters

        declared = inspect_parameters(self._source)
        for name, value in self._options.parameters.items():
            if name in declared and declared[name].secret:
                yield f" --secret {shlex.quote(name)} VARIABLE"
            else:
                yield f" -p {shlex.quote(name)} {shlex.quote(str(value))}"

    # open --------------------------------------------------------------------------------------------------------------

    def _open(self, forge: Forge, proposed: Proposed) -> Proposed:
        known = forge.find(self.branch, self._options.base)
        if known is None:
            opened = forge.create(self.branch, self._options.base, proposed.title, proposed.body)
            return dataclasses.replace(proposed, pull_request=opened, is_new=True)
        title = self._options.title or known.title  # a title that somebody gave it since stays
        return dataclasses.replace(proposed, pull_request=forge.update(known.number, title, proposed.body))

    @contextlib.contextmanager
    def _step(self, name: str) -> Iterator[None]:
        try:
            yield
        except _Stopped as stopped:
            raise self._cancelled(name, stopped.reason, stopped.signal_number) from None
        except KeyboardInterrupt:
            raise self._cancelled(name, "it got SIGINT", signal.SIGINT) from None
        except EndedBySignal as ended:
            raise self._cancelled(name, ended.reason, ended.signal_number) from None
        except ProposalError as error:
            raise ProposalError(self._told(name, str(error)), step=name, branch=self._kept, state=error.state) from None
        except HostBridgeError as error:
            raise ProposalError(self._told(name, str(error)), step=name, branch=self._kept) from error

    def _told(self, step: str, reason: str) -> str:
        kept = f"; what was done is on the branch {self._kept}" if self._kept else ""
        return f"stopped at the step `{step}`: {reason}{kept}"
