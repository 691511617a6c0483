"""Who runs an application in a test: whoever runs the tests, or for root also somebody without any rights."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest
from kernel_machine import Machine

REPOSITORY = Path(__file__).resolve().parents[1]
ORDINARY_USER = 54_321  # nobody's


@dataclasses.dataclass(frozen=True)
class Person:
    """A user, and a Python with this product that they can run.

    Attributes:
        uid: Their number.
        python: The interpreter.
        prefix: What runs a command as them.
        readable: What the interpreter needs besides its own folders.
    """

    uid: int
    python: str
    prefix: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        """Give the command that runs Python; the working folder is not on its import path."""
        return [*self.prefix, self.python, "-P", *arguments]

    def settle(self, machine: Machine) -> dict[str, str]:
        """Give a machine to this person, and its variables for their processes."""
        if self.readable:
            machine.configure(f"[sandbox]\nread_only_paths = {list(self.readable)}")
        home = machine.root / "home"
        home.mkdir(exist_ok=True)
        for path in (machine.root, *machine.root.rglob("*")):
            os.chown(path, self.uid, self.uid if self.prefix else -1, follow_symlinks=False)
        variables = {**os.environ, **machine.variables, "HOME": str(home)}
        return {**variables, "JUPYTER_PATH": f"{sys.prefix}/share/jupyter"} if self.prefix else variables


def whoever_runs_the_tests() -> Person:
    return Person(os.getuid(), sys.executable)


def somebody_without_rights(folder: Path) -> Person:
    """Make an environment in `folder` for a user who owns nothing, or skip the test."""
    if os.getuid() != 0:
        pytest.skip("only root can run programs as somebody else; whoever runs the tests is an ordinary user already")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed")
    try:
        pwd.getpwuid(ORDINARY_USER)
    except KeyError:
        number = str(ORDINARY_USER)
        # setpriv itself still has root's rights when it starts a program: one that has none is to find the rest.
        prefix = (setpriv, "--reuid", number, "--regid", number, "--clear-groups", "/usr/bin/env")
    else:
        pytest.skip(f"user number {ORDINARY_USER} belongs to somebody here")
    packages = (sysconfig.get_path("purelib"), str(REPOSITORY))
    python = _environment(folder, prefix, packages)
    return Person(ORDINARY_USER, python, prefix, (packages[0],))


def _environment(folder: Path, prefix: Sequence[str], packages: Sequence[str]) -> str:
    base = _readable_interpreter(prefix)
    subprocess.run([base, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    library = next(folder.glob("lib/python*/site-packages"))
    library.joinpath("hermes-test.pth").write_text("".join(f"{path}\n" for path in packages))
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=60)
    python = str(folder / "bin" / "python")
    trial = [*prefix, python, "-P", "-c", "import host_bridge.executor, hermes_runtime, papermill, ipykernel"]
    tried = subprocess.run(trial, capture_output=True, text=True, timeout=60, cwd="/")
    if tried.returncode:
        pytest.skip(f"another user can't read the packages: {tried.stderr.strip().splitlines()[-1]}")
    return python


def _readable_interpreter(prefix: Sequence[str]) -> str:
    """Find a Python of this version that the user may run: this one may lie in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = str(Path(sys.executable).resolve())
    for python in (own, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        question = [*prefix, python, "-I", "-c", "import venv, ensurepip"]
        try:
            if subprocess.run(question, capture_output=True, timeout=30, cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    pytest.skip(f"no Python {version} here that a user without rights may run ({own} is not)")
