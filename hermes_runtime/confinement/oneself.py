"""A kernel that nobody confined confines itself, or doesn't start: for applications that run a kernel spec's command.

What such a kernel relies on is that it runs before anything of the workspace does: its kernel spec starts Python with `-P`,
which keeps the folder it starts in off the import path. It then starts itself once more, in the same process, with the
variables that may be seen and a plan: so that what was in the environment is in no memory any more.

    HERMES_RUNTIME_CONFINEMENT    what the kernel does
    bubblewrap, landlock, self    runs if the system says that it is confined, refuses otherwise
    none                          runs unconfined: declared by whoever started it
    anything else, or unset       confines itself
"""

from __future__ import annotations

import atexit
import fcntl
import fnmatch
import json
import os
import pwd
import shutil
import site
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from hermes_protocol import landlock_only
from hermes_protocol.confinement import CONFINEMENT_VARIABLE, SELF_PREFIX, encode_plan
from hermes_protocol.protected_names import FILES, FOLDERS, ONLY_IF_THERE
from hermes_runtime import _settings
from hermes_runtime.confinement import landlock
from hermes_runtime.confinement.applying import ConfinementError, is_confined

EXIT_NOT_CONFINED = 78  # sysexits' EX_CONFIG
CLAIMS = ("bubblewrap", "landlock", "self")
MODULE = "hermes_runtime.kernel"

KEPT_VARIABLES = (
    "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLORTERM", "NO_COLOR", "MPLBACKEND", "PYTHONUTF8", "PYTHONHASHSEED",
    "PYTHONHOME", "*_NUM_THREADS", "PYDEVD_*", "IPY_*", "JPY_PARENT_PID", "JPY_INTERRUPT_EVENT",
)  # fmt: skip
"""What such a kernel keeps of its variables: whatever is in them a cell can read."""

_NO_KERNEL = ("-h", "--help", "--help-all", "--version")
_CHANNELS = ("shell", "iopub", "stdin", "hb", "control")
_DECLARE = (
    f"To run it unconfined all the same, so that a cell can do whatever you can, set {CONFINEMENT_VARIABLE}=none in the "
    "environment of the application that starts it"
)


def ensure_confined(arguments: Sequence[str]) -> None:
    """Come back confined, or where that was declared, unconfined. Otherwise the process is replaced by a confined one, or ends.

    Args:
        arguments: Those of the kernel's command line.
    """
    if any(argument in _NO_KERNEL for argument in arguments):
        return
    claim = os.environ.get(CONFINEMENT_VARIABLE, "")
    try:
        if claim == "none":
            _check_declaration(Path.cwd())
        elif claim not in CLAIMS:
            _start_again(arguments)
        elif not is_confined():
            raise ConfinementError(
                f"{CONFINEMENT_VARIABLE} says {claim}, and the system says that this process is not confined. {_DECLARE}"
            )
        else:
            _empty_at_exit(os.environ.get("TMPDIR", ""))
    except (OSError, ValueError, ConfinementError) as error:
        print(f"hermes_runtime.kernel: {error}", file=sys.stderr)
        raise SystemExit(EXIT_NOT_CONFINED) from None


def _check_declaration(folder: Path) -> None:
    """Refuse a declaration that the workspace itself could have made: editors load a file `.env` into their kernels."""
    for place in (folder, *folder.parents):
        path = place / ".env"
        try:
            declares = CONFINEMENT_VARIABLE.encode() in path.read_bytes()
        except OSError:
            continue  # there is none, or it can't be read, and so not by an editor either
        if declares:
            raise ConfinementError(
                f"{path} names {CONFINEMENT_VARIABLE}, and what a kernel can write must not decide about its confinement; "
                "take it out of that file, and set it in the environment of the application if you mean it"
            )


def _start_again(arguments: Sequence[str]) -> NoReturn:
    if sys.platform != "linux" or landlock.abi_version() < landlock_only.MINIMUM_VERSION:
        raise ConfinementError(
            "this kernel was started without its provisioner, and it can't confine itself here: that needs Linux 6.7 or newer "
            f"with Landlock. Start it from an application that uses kernel provisioners (Jupyter does). {_DECLARE}"
        )
    if not sys.flags.safe_path:
        raise ConfinementError(
            "this kernel was started without its provisioner and without Python's option -P, so modules of the folder it "
            f"starts in may have run already; install it anew: hermes-runtime kernel install --force. {_DECLARE}"
        )
    if any(_settings.session_ticket()):
        raise ConfinementError(
            "this kernel was given a ticket for a bridge and no confinement, and once it has confined itself it can't connect "
            f"to a bridge; start it in a container or virtual machine of its own. {_DECLARE}"
        )
    workspace = os.path.realpath(Path.cwd())
    _check_workspace(workspace)
    private = _private_folder()
    argv, ports = _own_connection_file(arguments, private)
    plan = landlock_only.plan(
        backend="self",
        workspace=workspace,
        spare=[f"{workspace}/{name}" for name in (*FOLDERS, *FILES, *ONLY_IF_THERE)],
        read_only_paths=tuple(_interpreter_paths(workspace)),
        writable_paths=[private],
        bind_ports=ports,
        limits={"CORE": 0},
    )
    _check_names(workspace)
    _leave_no_files_open()
    descriptor = os.memfd_create("hermes-plan", 0)
    os.write(descriptor, encode_plan(plan))
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [sys.executable, "-P", "-m", "hermes_runtime.confinement", str(descriptor), "--", "-m", MODULE, *argv]
    os.execve(sys.executable, command, _environment(os.environ, private))


def _check_workspace(workspace: str) -> None:
    homes = {os.path.realpath(Path("~").expanduser()), os.path.realpath(pwd.getpwuid(os.getuid()).pw_dir)} - {"/"}
    if workspace == "/" or any(home == workspace or home.startswith(f"{workspace}/") for home in homes):
        raise ConfinementError(
            f"the folder {workspace} can't be a kernel's workspace: it is a home folder, or holds one, with all its keys and "
            "settings. Start the application in a folder of its own for notebooks"
        )
    top = workspace.split("/")[1]
    if top in ("bin", "boot", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "usr"):
        raise ConfinementError(
            f"the folder {workspace} can't be a kernel's workspace: it belongs to the system. Start the application in a "
            "folder of its own for notebooks"
        )


def _check_names(workspace: str) -> None:
    for name in (*FOLDERS, *FILES, *ONLY_IF_THERE):
        path = Path(workspace, name)
        if path.is_symlink():
            raise ConfinementError(
                f"{path} is a symbolic link, and a kernel that may write where it leads could change what this name means; "
                "replace the link by what it points to"
            )


def _private_folder() -> str:
    """Make a folder for the kernel's home; remove those of kernels that have ended, which can't do it themselves."""
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{SELF_PREFIX}*"):
        _remove_if_left(left)
    while True:
        path = os.path.realpath(tempfile.mkdtemp(prefix=SELF_PREFIX, dir=base))
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(path).is_dir():  # before it was locked, another start may have taken it for one that was left
            os.set_inheritable(lock, True)  # held by the kernel for as long as it lives
            return path
        os.close(lock)


def _empty_at_exit(folder: str) -> None:
    """Have nothing left in the kernel's own folder when it ends in order.

    The folder itself stays until the next start of any kernel: to remove it takes a right to the folder it lies in, with which
    a cell could remove others' there.
    """
    if not Path(folder).name.startswith(SELF_PREFIX):
        return  # another way to be confined
    kernel = os.getpid()

    def empty() -> None:
        if os.getpid() == kernel:  # a cell's child that ends has nothing to clean up
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(empty)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # somebody else's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its kernel lives
    finally:
        os.close(lock)


def _own_connection_file(arguments: Sequence[str], private: str) -> tuple[list[str], tuple[int, ...]]:
    """Copy the connection file to where the kernel may read and rewrite it.

    Returns:
        The arguments that name the copy, and the TCP ports in it.

    Raises:
        ConfinementError: There is no usable connection file.
    """
    given = list(arguments)
    place = next((i + 1 for i, argument in enumerate(given[:-1]) if argument == "-f"), 0)
    if not place:
        raise ConfinementError("this kernel confines itself to the ports of its connection file: name one by -f FILE")
    try:
        fields = json.loads(Path(given[place]).read_bytes())
        ports = tuple(int(fields[f"{channel}_port"]) for channel in _CHANNELS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfinementError(f"the connection file {given[place]} can't be used: {error}") from None
    if fields.get("transport", "tcp") != "tcp" or not all(1 <= port <= 65_535 for port in ports):
        raise ConfinementError(
            "this kernel was started without its provisioner, and can confine itself only if its connection file names five "
            "TCP ports"
        )
    copy = Path(private, "connection.json")
    copy.touch(0o600)
    copy.write_text(json.dumps(fields))
    given[place] = str(copy)
    return given, ports


def _interpreter_paths(workspace: str) -> Iterator[str]:
    """Give what this Python imports from. Not a folder that holds the workspace, or a home: it would open all of that."""
    homes = os.path.realpath(Path("~").expanduser())
    program = Path(os.path.realpath(sys.executable)).parent.parent
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, str(program), *sys.path]
    for path in dict.fromkeys(os.path.realpath(entry) for entry in found if entry):
        if path != "/" and not any(inner == path or inner.startswith(f"{path}/") for inner in (workspace, homes)):
            yield path


def _environment(given: Mapping[str, str], private: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in given.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in KEPT_VARIABLES)
    }
    search = [os.path.realpath(entry) for entry in given.get("PYTHONPATH", "").split(os.pathsep) if entry]
    python = {"PYTHONPATH": os.pathsep.join(search)} if search else {}
    if site.ENABLE_USER_SITE and site.USER_BASE:
        python["PYTHONUSERBASE"] = site.USER_BASE
    return {
        "LANG": "C.UTF-8",
        **kept,
        **python,
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": private,
        "TMPDIR": private,
        CONFINEMENT_VARIABLE: "self",
    }


def _leave_no_files_open() -> None:
    """Replace standard streams that are files: through /proc/self/fd a file can be opened again, and read, or cut short."""
    for descriptor in (0, 1, 2):
        try:
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        except OSError:
            continue  # closed
        if is_file:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor)
            os.close(nothing)
