"""A tool's command in a sandbox like a kernel's: SandboxSpec -> Launch. Pure.

What is different from a kernel: there is no run directory inside, and nothing of Python is left once the command runs. The
filter of system calls is loaded by bubblewrap, Landlock by a small first program which then becomes the command; both are
compiled ahead, because commands are many and short.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from hermes_protocol.confinement import CompiledPlan, ConfinementPlan, LandlockPlan, PathRule
from host_bridge.sandbox import bubblewrap
from host_bridge.sandbox.spec import Launch, SandboxSpec

COMMAND_FILE = f"{bubblewrap.INNER_RUN}/command"

# All of bubblewrap's own processes are in the command's group: told to end, they must leave that to the command.
_IGNORE_TERM = 'trap "" TERM; exec "$0" "$@"'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run.

    Attributes:
        line: The command line, for the shell.
        words: Its words, where it is one plain command that needs no shell; else empty.
        folder: Where, as it is seen inside.
        device: Of that folder, which must be this one and no other; with `inode`.
        inode: Of that folder.
        environment: All its variables.
    """

    line: str
    words: Sequence[str]
    folder: str
    device: int
    inode: int
    environment: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a sandbox needs to know of the machine.

    Attributes:
        bubblewrap: The program's path.
        interpreter: A Python that can be run inside.
        first_program: The file of the program that becomes the command.
        shell: bash, or another shell.
        system: As for `bubblewrap.launch`.
    """

    bubblewrap: str
    interpreter: str
    first_program: str
    shell: str
    system: Mapping[str, str | None]


def launch(spec: SandboxSpec, command: Command, compiled: CompiledPlan, machine: Machine) -> Launch:
    """Give the command that runs a tool's command within `spec`.

    Its inputs and `{started}` are for whoever starts it: a pipe's end that gets a byte when the command itself is all that can
    still fail.
    """
    made_up = bubblewrap.made_up_files(spec)
    arguments = [
        *bubblewrap.isolation(spec),
        *bubblewrap.file_system(spec, machine.system, made_up),
        *("--ro-bind-data", "{command}", COMMAND_FILE),
        *("--remount-ro", "/"),
        *("--seccomp", "{seccomp}"),
    ]
    inputs = {
        **made_up,
        "command": first_program_file(command, compiled, machine.shell),
        "seccomp": compiled.seccomp,
        "arguments": "\0".join(arguments).encode(),
    }
    first = (machine.interpreter, "-I", "-S", machine.first_program, "{started}", COMMAND_FILE)
    argv = ("sh", "-c", _IGNORE_TERM, machine.bubblewrap, "--args", "{arguments}", "--", *first)
    return Launch(argv, {}, inputs, "/")


def plan(spec: SandboxSpec, *, minimum_landlock: int = 1) -> ConfinementPlan:
    """Give what a command's process takes from itself inside of the namespaces."""
    # Its terminal, if it has one, is its own; without one /dev/tty can't be opened.
    paths = (*bubblewrap.path_rules(spec), PathRule("/dev/tty", "terminal"))
    return ConfinementPlan(
        backend="bubblewrap",
        landlock=LandlockPlan(minimum_abi=minimum_landlock, paths=paths) if minimum_landlock else None,
        seccomp=bubblewrap.system_calls(spec),
    )


def first_program_file(command: Command, compiled: CompiledPlan, shell: str) -> bytes:
    """Give the file that `hermes_runtime/confinement/command.py` reads; the fields are described there."""
    environment = [f"{name}={value}" for name, value in command.environment.items()]
    rules = [str(field) for path in compiled.paths for field in path]
    fields = [
        compiled.ruleset.hex(),
        command.folder,
        f"{command.device}:{command.inode}",
        shell,
        command.line,
        command.environment.get("PATH", ""),
        *(part for group in (environment, list(command.words), rules) for part in (str(len(group)), *group)),
    ]
    return "".join(f"{field}\0" for field in fields).encode(errors="surrogateescape")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Give a command's variables inside: those it would have outside, but for places it can't reach."""
    chosen = {name: value for name, value in given.items() if not name.startswith("XDG_")}
    return {**chosen, "HOME": bubblewrap.HOME, "USER": "user", "LOGNAME": "user", "TMPDIR": "/tmp", "SHELL": "/bin/sh"}
