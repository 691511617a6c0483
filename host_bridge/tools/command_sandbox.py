"""The sandbox of a session's commands, where `[tools.terminal]` says `confinement = "workspace"`."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from hermes_protocol.confinement import CompiledPlan, decode_compiled, encode_plan
from host_bridge.errors import CallError, HostBridgeError, NotConfiguredError
from host_bridge.policy.model import CommandResource, Resource
from host_bridge.policy.patterns import PatternError
from host_bridge.policy.words import CommandPattern, check_allowable, parse_command
from host_bridge.rundirs.rundir import RunDirectory
from host_bridge.sandbox import bubblewrap
from host_bridge.sandbox import command as sandboxed_command
from host_bridge.sandbox.command import Command, Machine
from host_bridge.sandbox.covers import covers_in_use, covers_locked, remove_covers
from host_bridge.sandbox.inputs import Inputs
from host_bridge.sandbox.interpreters import interpreter_paths
from host_bridge.sandbox.islands import survey
from host_bridge.sandbox.probing import INSTALL_BUBBLEWRAP, probe
from host_bridge.sandbox.spec import SandboxSpec
from host_bridge.sandbox.workspaces import check_workspace
from host_bridge.tools.interface import Session
from host_bridge.tools.terminal_settings import TerminalSettings

PROTECTED_PATHS = "protected_paths"
"""Under this key a session's `resources` name the files no command may change: policy files, the notebook."""
READS_ONLY = "reads_only"
"""Under this key they say whether the session's profile is one that changes nothing."""

COMPILE_SECONDS = 30.0  # a cold start of Python from a slow disk


class CommandSandbox:
    """What the confined commands of one session have in common. Thread-safe.

    Raises:
        NotConfiguredError: Commands can't be confined here; says what to do.
    """

    def __init__(self, session: Session, settings: TerminalSettings) -> None:
        self._machine = _machine()
        self._workspace = session.workspace
        self._protected: tuple[str, ...] = session.resources.get(PROTECTED_PATHS, ())
        self._writes = settings.workspace == "write" and not session.resources.get(READS_ONLY, False)
        self._temporary_bytes = settings.temporary_bytes
        self._covers: tuple[str, ...] = ()
        self._compiled: dict[bool, CompiledPlan] = {}
        self._lock = threading.Lock()
        try:
            self._read_only = (*interpreter_paths(sys.executable), *_existing(settings.read_only_paths))
            self._writable = _existing(settings.writable_paths)
            self._run = RunDirectory()
        except HostBridgeError as error:
            raise _unusable(error) from None
        try:
            check_workspace(session.workspace, self._run.path)
        except HostBridgeError as error:
            self._run.remove()
            raise _unusable(error) from None

    @classmethod
    def of(cls, session: Session, settings: TerminalSettings) -> CommandSandbox:
        """Give the session's one instance."""
        with _making:
            found = session.resources.get("command_sandbox")
            if found is None:
                found = session.resources["command_sandbox"] = cls(session, settings)
        assert isinstance(found, cls)
        return found

    def prepare(
        self,
        line: str,
        words: Sequence[str],
        *,
        folder: str,
        descriptor: int,
        environment: Mapping[str, str],
        share_network: bool,
    ) -> ConfinedStart:
        """Give what starts a command in the sandbox.

        Args:
            line: The command line.
            words: Its words, where it is one plain command; else empty.
            folder: The working directory.
            descriptor: That folder, opened.
            environment: The variables it would have on the host.
            share_network: Whether it has the host's network.

        Raises:
            CallError: The folder isn't in the sandbox, or the workspace can't be protected.
        """
        self._check_folder(folder)
        try:
            spec = self._spec(share_network=share_network)
        except HostBridgeError as error:
            raise CallError(f"the command can't be confined: {error}") from None
        status = os.fstat(descriptor)
        command = Command(
            line=line,
            words=words,
            folder=folder,
            device=status.st_dev,
            inode=status.st_ino,
            environment={**sandboxed_command.environment(environment), "PWD": folder},
        )
        launch = sandboxed_command.launch(spec, command, self._compile(spec), self._machine)
        return ConfinedStart(functools.partial(Inputs, launch))

    def close(self) -> None:
        """Take away what the sandboxes left in the workspace. The session's commands are over."""
        remove_covers(self._covers, self._run.path)
        self._run.remove()

    def _check_folder(self, folder: str) -> None:
        seen = (self._workspace, *self._writable, *self._read_only)
        if not any(folder == path or folder.startswith(f"{path.rstrip('/')}/") for path in seen):
            raise CallError(
                "the command runs in a sandbox that has the workspace and not this folder; leave out workdir, or have the "
                "folder added to read_only_paths or writable_paths in [tools.terminal] of the host's configuration"
            )

    def _spec(self, *, share_network: bool) -> SandboxSpec:
        spec = SandboxSpec(
            workspace=self._workspace,
            run_folder=self._run.path,
            write_workspace=self._writes,
            read_only_paths=self._read_only,
            writable_paths=self._writable,
            share_network=share_network,
            temporary_bytes=self._temporary_bytes,
        )
        if not self._writes:
            return spec
        # Looked at anew for each command: names come and go, and a cover must be on record before it can be seen.
        with self._lock, covers_locked():
            islands = survey(self._workspace, further=self._protected, covers=covers_in_use())
            covers = {island.path for island in islands if island.kind in ("no folder", "no file")}
            if not covers <= set(self._covers):
                self._covers = tuple(sorted(covers | set(self._covers)))
                self._run.record(covers=self._covers)
        return dataclasses.replace(spec, islands=islands)

    def _compile(self, spec: SandboxSpec) -> CompiledPlan:
        """Compile the plan, once for each kind of network: nothing else in it changes from command to command."""
        with self._lock:
            if spec.share_network not in self._compiled:
                self._compiled[spec.share_network] = _compile(spec, probe("bubblewrap").landlock)
            return self._compiled[spec.share_network]


class ConfinedStart:
    """One start of a confined command; give `argv` and `descriptors` to whoever starts it, then call `given`.

    Attributes:
        argv: The command.
        descriptors: What it must inherit.
    """

    def __init__(self, inputs: functools.partial[Inputs]) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._inputs = inputs({"started": self._writer})
        except BaseException:
            os.close(self._reader)
            os.close(self._writer)
            raise
        self.argv = tuple(self._inputs.argv)
        self.descriptors = self._inputs.descriptors

    def given(self) -> None:
        """Let go of what the process has now, or never will."""
        if self._writer >= 0:
            self._inputs.close()
            os.close(self._writer)
            self._writer = -1

    def has_begun(self) -> bool:
        """Whether the command itself has run; before that, what was written was the sandbox's complaint."""
        try:
            return os.read(self._reader, 1) != b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Let go of everything."""
        self.given()
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


def shares_network(settings: TerminalSettings, resources: Sequence[Resource]) -> bool:
    """Say whether a line gets the host's network: all of its commands must be ones that may have it.

    Raises:
        NotConfiguredError: A pattern in the settings is none.
    """
    return settings.network == "full" or _all_match("network_for", settings.network_for, resources)


def runs_on_host(settings: TerminalSettings, resources: Sequence[Resource]) -> bool:
    """Say whether a line runs unconfined: all of its commands must be ones that may.

    Raises:
        NotConfiguredError: A pattern in the settings is none.
    """
    return settings.confinement == "host" or _all_match("host_for", settings.host_for, resources)


def _all_match(key: str, patterns: tuple[str, ...], resources: Sequence[Resource]) -> bool:
    compiled = _patterns(key, patterns)
    return bool(compiled) and all(
        isinstance(resource, CommandResource)
        and resource.argv is not None
        and any(pattern.allows(resource.argv) for pattern in compiled)
        for resource in resources
    )


@functools.lru_cache(maxsize=16)
def _patterns(key: str, texts: tuple[str, ...]) -> tuple[CommandPattern, ...]:
    try:
        patterns = [parse_command(text) for text in texts]
        for pattern, text in zip(patterns, texts, strict=True):
            check_allowable(pattern, text)
    except PatternError as error:
        raise NotConfiguredError(
            f"{key} in [tools.terminal] of the host's configuration can't be used: {error}",
            remedy=f"correct {key} in [tools.terminal] in the host's configuration file",
        ) from None
    return tuple(patterns)


_making = threading.Lock()


def _machine() -> Machine:
    finding = probe("bubblewrap")
    if not finding.works:
        raise NotConfiguredError(
            f"commands are to be confined to the workspace, which needs bubblewrap: {finding.problem}",
            remedy=f'{INSTALL_BUBBLEWRAP}, or set confinement = "host" in [tools.terminal] of the host\'s configuration',
        )
    package = importlib.util.find_spec("hermes_runtime")  # found, not imported: the two sides share no process
    if package is None or not package.submodule_search_locations:
        raise NotConfiguredError(
            "commands can't be confined: the package hermes_runtime is not installed; reinstall it"
        )
    return Machine(
        bubblewrap=finding.program,
        interpreter=os.path.realpath(sys.executable),
        first_program=f"{package.submodule_search_locations[0]}/confinement/command.py",
        shell="/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
        system=bubblewrap.system_folders(),
    )


def _compile(spec: SandboxSpec, landlock: int) -> CompiledPlan:
    plan = sandboxed_command.plan(spec, minimum_landlock=min(1, landlock))
    try:
        compiled = subprocess.run(
            [sys.executable, "-I", "-m", "hermes_runtime.confinement.compiling"],
            input=encode_plan(plan),
            capture_output=True,
            timeout=COMPILE_SECONDS,
            check=True,
        )
        return decode_compiled(compiled.stdout)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise CallError(f"the command can't be confined on this machine: {said}") from None
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise CallError(f"the command can't be confined: {error}") from None


def _existing(names: Sequence[str]) -> tuple[str, ...]:
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if not path.is_absolute() or not path.exists():
            raise NotConfiguredError(
                f"{path}, named in [tools.terminal] of the host's configuration, is not the absolute path of something"
            )
    return tuple(os.path.realpath(path) for path in paths)


def _unusable(error: HostBridgeError) -> NotConfiguredError:
    if isinstance(error, NotConfiguredError):
        return error
    return NotConfiguredError(
        f"commands can't be confined to the workspace: {error}",
        remedy='correct this, or set confinement = "host" in [tools.terminal] of the host\'s configuration',
    )
