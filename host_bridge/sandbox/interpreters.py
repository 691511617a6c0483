"""What a Python interpreter needs of the file system: its prefixes, and where it finds the kernel-side packages."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from host_bridge.errors import SandboxError

ASK_SECONDS = 30.0  # a cold start from a slow disk
_PACKAGES = ("hermes_runtime", "hermes_protocol")
_QUESTION = f"""
import importlib.util, json, sys
found = [importlib.util.find_spec(name) for name in {_PACKAGES!r}]
places = [place for spec in found if spec for place in spec.submodule_search_locations]
print(json.dumps([sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *places]))
"""


def interpreter_paths(program: str) -> tuple[str, ...]:
    """Give the folders a kernel of this interpreter has to be able to read.

    Args:
        program: Its path, or a name on the search path.

    Raises:
        SandboxError: It can't be found or asked.
    """
    found = shutil.which(program)
    if found is None:
        raise SandboxError(
            f"the kernel's interpreter {program} is not there; install the kernel anew: hermes-runtime kernel install"
        )
    if os.path.abspath(found) == os.path.abspath(sys.executable):  # noqa: PTH100 - without following links, as a venv is told by them
        paths = _own_paths()
    else:
        paths = _ask(found, os.stat(found).st_mtime_ns)  # noqa: PTH116
    program_folder = str(Path(os.path.realpath(found)).parent.parent)
    return _outermost((*paths, program_folder))


def _own_paths() -> tuple[str, ...]:
    places = []
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)  # imports nothing of the kernel's side
        places += list(spec.submodule_search_locations or ()) if spec else []
    return (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *places)


@functools.cache
def _ask(program: str, changed: int) -> tuple[str, ...]:
    try:
        answer = subprocess.run([program, "-I", "-c", _QUESTION], capture_output=True, timeout=ASK_SECONDS, check=True)
        return tuple(msgspec.json.decode(answer.stdout, type=list[str]))
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
        raise SandboxError(
            f"the kernel's interpreter {program} can't be asked where it keeps its files: {error}"
        ) from None


def _outermost(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out what lies in another of the paths, and what every sandbox has anyway."""
    kept: list[str] = []
    for path in sorted({path.rstrip("/") for path in paths if path.rstrip("/") not in ("", "/usr")}):
        if not any(path == other or path.startswith(f"{other}/") for other in (*kept, "/usr")):
            kept.append(path)
    return tuple(kept)
