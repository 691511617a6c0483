"""Running git: bounded in time, never asking a person, and what went wrong in its own words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from host_bridge.errors import HostBridgeError

_LOCAL_SECONDS = 120.0  # a filter runs for each notebook of a repository
_REMOTE_SECONDS = 300.0
_END_SECONDS = 5.0  # for what git clears away when it is told to end: locks, half a working tree, its own helpers
_MAX_TOLD_CHARACTERS = 2_000


class GitError(HostBridgeError):
    """git could not do what it was asked to.

    Attributes:
        output: What it said.
        code: Its exit code; None if it could not be started or took too long.
    """

    def __init__(self, message: str, *, output: str = "", code: int | None = None) -> None:
        super().__init__(message)
        self.output = output
        self.code = code


class Git:
    """git in one working tree.

    Attributes:
        folder: The top of the working tree, or a folder in it.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Git:
        """Find the working tree that a folder is in.

        Raises:
            GitError: It is in none.
        """
        top = cls(folder).text("rev-parse", "--show-toplevel")
        return cls(top)

    def run(
        self,
        *arguments: str,
        input_text: str | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a git command.

        Args:
            *arguments: Behind `git`. No secret: other users see a command's arguments.
            input_text: Its standard input; nothing by default.
            check: Whether an exit code other than 0 is an error.
            environment: Further variables.
            timeout_seconds: Until it is ended.

        Raises:
            GitError: It failed, isn't installed, or took too long.
        """
        shown = f"git {arguments[0]}"
        seconds = timeout_seconds or (
            _REMOTE_SECONDS if arguments[0] in ("fetch", "push", "ls-remote") else _LOCAL_SECONDS
        )
        try:
            done = _run(
                ["git", *arguments],
                self.folder,
                {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(environment or {})},
                input_text or "",
                seconds,
            )
        except FileNotFoundError as error:
            if error.filename == "git":
                raise GitError("git isn't installed; install it") from None
            raise GitError(f"there is no folder {self.folder}; name another one") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"{shown} took longer than {seconds:g} s and was ended") from None
        if check and done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-_MAX_TOLD_CHARACTERS:]
            raise GitError(f"{shown}: {said or f'exit code {done.returncode}'}", output=said, code=done.returncode)
        return done

    def text(self, *arguments: str) -> str:
        """Give what a git command writes, without the last line's end.

        Raises:
            GitError: It failed.
        """
        return self.run(*arguments).stdout.removesuffix("\n")

    def fields(self, *arguments: str) -> list[str]:
        """Give what a git command writes under `-z`, which `arguments` has to contain.

        Raises:
            GitError: It failed.
        """
        return [field for field in self.run(*arguments).stdout.split("\0") if field]

    def save(self, revision: str, path: str, target: Path) -> bool:
        """Write a file's bytes in a revision to another file; whether it is there.

        Raises:
            GitError: git can't be started.
        """
        if self.run("cat-file", "-e", f"{revision}:{path}", check=False).returncode != 0:
            return False
        with open(target, "wb") as stream:
            done = subprocess.run(
                ["git", "cat-file", "blob", f"{revision}:{path}"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.DEVNULL,
                timeout=_LOCAL_SECONDS,
                check=False,
            )
        return done.returncode == 0

    def show(self, revision: str, path: str) -> str | None:
        """Give a file's text in a revision (empty: in the index); None if it isn't there."""
        done = self.run("cat-file", "blob", f"{revision}:{path}", check=False)
        return done.stdout if done.returncode == 0 else None


def _run(
    command: list[str], folder: Path, environment: Mapping[str, str], input_text: str, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run a command. Whatever ends it before its time asks it to end first: `subprocess.run` would kill it."""
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment,
    ) as process:
        try:
            out, err = process.communicate(input_text, seconds)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
