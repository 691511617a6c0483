"""A version of a notebook named on the command line: a file, `-` for standard input, or `REVISION:PATH` as git knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

GIT_SECONDS = 30.0
_ENVIRONMENT = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}  # it reads, and nothing else


def read_version(named: str) -> dict[str, Any]:
    """Give a notebook's JSON.

    Raises:
        click.UsageError: There is no such notebook.
    """
    if named == "-":
        return _document(sys.stdin.buffer.read(), "standard input")
    if ":" in named and not Path(named).exists():
        return _document(_from_git(named), named)
    try:
        return _document(Path(named).read_bytes(), named)
    except OSError as error:
        raise click.UsageError(f"{named}: {error.strerror}") from None


def _from_git(named: str) -> bytes:
    if named.startswith("-"):
        raise click.UsageError(f"{named}: no revision of git begins with '-'")
    revision, _, path = named.partition(":")
    if path and not path.startswith(("/", "./", "../")):
        path = _from_here(path)
    try:
        # Not `git show`, which would run a filter that the repository's settings name.
        done = subprocess.run(
            ["git", "cat-file", "blob", f"{revision}:{path}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
            env={**os.environ, **_ENVIRONMENT},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise click.UsageError(f"{named}: git can't be asked: {error}") from None
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise click.UsageError(f"{named}: {why[0].removeprefix('fatal: ') if why else 'no such revision'}")
    return done.stdout


def _from_here(path: str) -> str:
    """As git has it a path counts from the repository's top, unless it lies here: then it is what the person sees."""
    return f"./{path}" if Path(path).exists() else path


def _document(data: bytes, named: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise click.UsageError(f"{named}: is not a notebook of format 4")
    return document
