"""Registering the kernel with Jupyter: `hermes-runtime kernel install` and `kernel remove`.

`pip install` registers one already, for the environment it installs into. These are for the others: a user's own list, another
prefix, another name, and above all a kernel that runs in another virtual environment while its bridge stays in this one.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from hermes_protocol.messages import PROTOCOL_VERSIONS
from host_bridge.errors import ConfigurationError
from host_bridge.provisioning.provisioner import NAME as PROVISIONER_NAME

DISTRIBUTION = "hermes-runtime"
DEFAULT_NAME = "hermes"
KERNEL_MODULE = "hermes_runtime.kernel"
LOGOS = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")
KERNEL_SIDE = {"ipykernel": "ipykernel", "zmq": "pyzmq", "msgpack": "msgpack", "msgspec": "msgspec"}
"""What a kernel's environment needs besides our own two packages: module to distribution."""
OUR_PACKAGES = ("hermes_protocol", "hermes_runtime")
CHECK_SECONDS = 60.0  # a first import on a slow disk compiles a few thousand files

_CHECK = """
import importlib, json, sys
problems = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        problems[name] = f"{type(error).__name__}: {error}"
version = None
if "hermes_protocol" not in problems:
    from hermes_protocol.messages import PROTOCOL_VERSION as version
print(json.dumps({"problems": problems, "protocol": version, "python": sys.version_info[:3]}))
"""


def install(
    *,
    user: bool = False,
    sys_prefix: bool = False,
    prefix: str | os.PathLike[str] | None = None,
    name: str = DEFAULT_NAME,
    display_name: str = "",
    python: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Path:
    """Write a kernel spec.

    Args:
        user: Into the user's own Jupyter data folder; so also when no place is given.
        sys_prefix: Into this environment.
        prefix: Into another environment, given by its prefix.
        name: What applications call it; letters, digits, `.`, `-`, `_`.
        display_name: What people see; made from the name when empty.
        python: The interpreter the kernel runs in; this one when None. It is tried out first.
        force: Replace a kernel spec of this name that isn't ours.

    Returns:
        The folder written.

    Raises:
        ConfigurationError: The interpreter can't run the kernel, the name or the place can't be used, or the name is taken.
    """
    manager = _manager()
    _check_choices(user, sys_prefix, prefix, name)
    root = _root(manager, sys_prefix, prefix)
    target = root / name
    _check_replaceable(target, force)
    interpreter = check_python(python or sys.executable)
    specification = kernel_json(interpreter, display_name or _display_name(name))
    with tempfile.TemporaryDirectory(prefix="hermes-kernelspec-") as folder:
        Path(folder, "kernel.json").write_text(json.dumps(specification, indent=2) + "\n")
        for logo in find_logos():
            shutil.copy(logo, folder)
        try:
            manager.install_kernel_spec(
                folder, kernel_name=name, user=not (sys_prefix or prefix), prefix=_prefix(sys_prefix, prefix)
            )
        except OSError as error:
            raise ConfigurationError(
                f"{target} can't be written: {error.strerror or error}; choose --user or another --prefix",
                path=str(target),
            ) from error
    return target


def remove(name: str = DEFAULT_NAME, *, force: bool = False) -> Path:
    """Remove a kernel spec.

    Args:
        name: What it is called. Of several, the user's own goes first, and what `pip` installed last.
        force: Remove it even if it isn't ours.

    Returns:
        The folder removed.

    Raises:
        ConfigurationError: There is none, it isn't ours, or it can't be removed.
    """
    folder = _find(name)
    if folder is None:
        raise ConfigurationError(
            f"no kernel spec is called {name!r}; `jupyter kernelspec list` shows what there is", key="name"
        )
    if not force and not is_ours(folder):
        raise ConfigurationError(
            f"{folder} is not a kernel spec of {DISTRIBUTION}; --force removes it all the same", path=str(folder)
        )
    try:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder} can't be removed: {error.strerror or error}", path=str(folder)) from error
    return folder


def kernel_json(interpreter: str, display_name: str) -> dict[str, Any]:
    """Give the contents of `kernel.json` for an interpreter, named by its absolute path."""
    return {
        # -P: nothing of the folder it starts in may be imported before the kernel is confined.
        "argv": [interpreter, "-P", "-m", KERNEL_MODULE, "-f", "{connection_file}"],
        "display_name": display_name,
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {
            "debugger": True,
            "supported_encryption": ["curve"],
            "kernel_provisioner": {"provisioner_name": PROVISIONER_NAME, "config": {}},
        },
    }


def check_python(python: str | os.PathLike[str]) -> str:
    """Try out whether an interpreter can run the kernel.

    Returns:
        Its absolute path, as given: a virtual environment's `python` is a link, and following it would leave the environment.

    Raises:
        ConfigurationError: It can't; the text has the command that changes it.
    """
    path = _find_python(python)
    answer = _ask_python(path)
    problems: dict[str, str] = answer["problems"]
    if problems:
        listed = "; ".join(f"{name}: {text}" for name, text in problems.items())
        raise ConfigurationError(
            f"{path} can't run the kernel ({listed}). Run: {_pip_commands(path, problems)}", path=path, key="python"
        )
    if answer["protocol"] not in PROTOCOL_VERSIONS:
        raise ConfigurationError(
            f"{path} has a {DISTRIBUTION} that speaks protocol {answer['protocol']}, this one speaks {PROTOCOL_VERSIONS[-1]}. "
            f"Run: {_pip_commands(path, {'hermes_runtime': ''})}",
            path=path,
            key="python",
        )
    return path


def is_ours(folder: Path) -> bool:
    """Whether a kernel spec folder is one of ours."""
    try:
        metadata = json.loads((folder / "kernel.json").read_bytes())["metadata"]
        return bool(metadata["kernel_provisioner"]["provisioner_name"] == PROVISIONER_NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def find_logos() -> list[Path]:
    """Give the logos that came with the installation, or lie in the checkout it runs from."""
    for folder in _source_folders():
        found = [folder / logo for logo in LOGOS if (folder / logo).is_file()]
        if found:
            return found
    return []


def _source_folders() -> list[Path]:
    shared = Path("share/jupyter/kernels") / DEFAULT_NAME
    checkout = Path(__file__).resolve().parents[2] / "kernelspec" / DEFAULT_NAME
    return [Path(sys.prefix) / shared, *([Path(site.USER_BASE) / shared] if site.USER_BASE else []), checkout]


def _manager() -> Any:
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager()


def _find(name: str) -> Path | None:
    manager = _manager()
    if not _is_valid(name):
        return None
    # Not by Jupyter's order, in which an environment's hides the user's: undoing `install` must not hit what pip put there.
    packaged = Path(sys.prefix, "share", "jupyter", "kernels")
    places = sorted(
        map(Path, manager.kernel_dirs), key=lambda place: (place != Path(manager.user_kernel_dir), place == packaged)
    )
    return next((place / name for place in places if (place / name / "kernel.json").is_file()), None)


def _is_valid(name: str) -> bool:
    from jupyter_client.kernelspec import _is_valid_kernel_name

    return bool(_is_valid_kernel_name(name))


def _check_choices(user: bool, sys_prefix: bool, prefix: object, name: str) -> None:
    if sum(map(bool, (user, sys_prefix, prefix))) > 1:
        raise ConfigurationError("choose one of --user, --sys-prefix and --prefix", key="prefix")
    if not _is_valid(name):
        raise ConfigurationError(
            f"a kernel can't be called {name!r}; use letters, digits, '.', '-' and '_'", key="name"
        )


def _prefix(sys_prefix: bool, prefix: str | os.PathLike[str] | None) -> str | None:
    if sys_prefix:
        return sys.prefix
    return str(Path(prefix).expanduser().absolute()) if prefix else None


def _root(manager: Any, sys_prefix: bool, prefix: str | os.PathLike[str] | None) -> Path:
    chosen = _prefix(sys_prefix, prefix)
    return Path(chosen, "share", "jupyter", "kernels") if chosen else Path(manager.user_kernel_dir)


def _check_replaceable(target: Path, force: bool) -> None:
    if target.exists() and not force and not is_ours(target):
        raise ConfigurationError(
            f"{target} exists and is not a kernel spec of {DISTRIBUTION}; choose another --name, or --force to replace it",
            path=str(target),
        )


def _display_name(name: str) -> str:
    return "Hermes" if name == DEFAULT_NAME else f"Hermes ({name})"


def _find_python(python: str | os.PathLike[str]) -> str:
    text = str(Path(python).expanduser())
    found = text if os.sep in text else shutil.which(text)
    path = str(Path(found).absolute()) if found else text
    if not found or not Path(path).is_file() or not os.access(path, os.X_OK):
        raise ConfigurationError(f"{path} is not an interpreter; give the path of a `python`", path=path, key="python")
    return path


def _ask_python(path: str) -> dict[str, Any]:
    command = [path, "-c", _CHECK, *KERNEL_SIDE, *OUR_PACKAGES]
    try:
        # From a folder in which nothing can be mistaken for a module.
        with tempfile.TemporaryDirectory(prefix="hermes-check-") as folder:
            done = subprocess.run(
                command, capture_output=True, cwd=folder, timeout=CHECK_SECONDS, stdin=subprocess.DEVNULL
            )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    except subprocess.TimeoutExpired:
        problem = f"did not answer within {CHECK_SECONDS:g} s"
    except OSError as error:
        problem = f"can't be started: {error.strerror or error}"
    except (ValueError, IndexError):
        problem = (
            f"is not a Python that works: {done.stderr.decode(errors='replace').strip()[-500:] or 'it said nothing'}"
        )
    raise ConfigurationError(f"{path} {problem}; give another --python", path=path, key="python")


def _pip_commands(path: str, problems: dict[str, str]) -> str:
    """Give the commands that install what is missing. Our own packages come without the host's dependencies."""
    required = [_requirement(distribution) for module, distribution in KERNEL_SIDE.items() if module in problems]
    commands = [f"{path} -m pip install {' '.join(required)}"] if required else []
    if any(package in problems for package in OUR_PACKAGES):
        commands.append(f"{path} -m pip install --no-deps {shlex.quote(_our_source())}")
    return " && ".join(commands)


def _our_source() -> str:
    """Give what pip installed this package from, so that the kernel's side is the same: a checkout, an archive, an index.

    A checkout is named as a folder: what it holds now is what an editable install runs.
    """
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")  # PEP 610
    url = str(origin.get("url", ""))
    if not url:
        return f"{DISTRIBUTION}=={distribution.version}"
    if "dir_info" in origin:
        return url2pathname(urlsplit(url).path)
    if repository := origin.get("vcs_info"):
        return f"{repository['vcs']}+{url}@{repository['commit_id']}"
    return url


def _requirement(distribution: str) -> str:
    """Give a requirement as our own distribution states it, quoted for a shell."""
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        if line.split(";")[0].rstrip().startswith(distribution):
            return f"'{line.split(';')[0].strip()}'"
    return distribution
