"""From configuration and circumstances to the command that starts a confined kernel: looks, decides, and hands to a backend."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hermes_protocol.ticket import Ticket, encode_ticket
from host_bridge.config import SandboxSettings
from host_bridge.control import SessionConfig
from host_bridge.errors import SandboxError
from host_bridge.provisioning.environment import confined_environment
from host_bridge.sandbox import bubblewrap, landlock
from host_bridge.sandbox.interpreters import interpreter_paths
from host_bridge.sandbox.islands import protected_files, survey
from host_bridge.sandbox.probing import choose, probe
from host_bridge.sandbox.spec import Backend, Launch, SandboxSpec
from host_bridge.sandbox.workspaces import check_workspace


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How one kernel is confined: decided once, before its session starts, and the same for each of its processes.

    Attributes:
        backend: By what.
        share_network: Whether it has the host's network.
        settings: What the user has set besides.
    """

    backend: Backend
    share_network: bool
    settings: SandboxSettings

    @property
    def label(self) -> str:
        """How results, audit records and the kernel's status name it."""
        if self.backend == "none":
            return "none"
        network = ", network full" if self.share_network else ""
        without = ", no Landlock" if self.backend == "bubblewrap" and not probe("bubblewrap").landlock else ""
        return f"{self.backend}{network}{without}"

    @property
    def dials(self) -> bool:
        """Whether the bridge has to dial in, because the kernel can't connect to anything."""
        return self.backend == "landlock"

    def bridge_endpoint(self, run_folder: str) -> str:
        """Where a kernel and its session meet, as the host sees it."""
        return landlock.bridge_endpoint(run_folder) if self.dials else f"ipc://{run_folder}/b/bridge"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KernelCommand:
    """A kernel as jupyter_client would start it.

    Attributes:
        argv: Its command.
        environment: Its variables.
        working_folder: Where it would start.
        connection_file: The manager's connection file.
        ticket: What it finds its bridge by.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    working_folder: str
    connection_file: str
    ticket: Ticket


def decide_confinement(settings: SandboxSettings, *, backend: str = "", network: str = "") -> Confinement:
    """Give how a kernel will be confined.

    Args:
        settings: The user's.
        backend: The host application's wish over it; what isn't understood counts as "auto".
        network: The same; only `"full"` is the host's network.

    Raises:
        SandboxError: It can't be confined as asked; says what to do.
    """
    chosen = choose(backend or settings.backend)
    share = (network or settings.network) == "full"
    if share and chosen == "landlock":
        raise SandboxError(
            "a kernel confined by Landlock alone can't have the network; install bubblewrap, or leave network at none"
        )
    return Confinement(backend=chosen, share_network=share, settings=settings)


def confine(confinement: Confinement, kernel: KernelCommand, spec: SandboxSpec) -> Launch:
    """Give the command that starts a kernel within `spec`.

    Raises:
        SandboxError: The kernel's command can't be confined.
    """
    if confinement.backend == "bubblewrap":
        return _by_bubblewrap(confinement, kernel, spec)
    if confinement.backend == "landlock":
        return _by_landlock(confinement, kernel, spec)
    raise SandboxError(f"nothing here confines by {confinement.backend}")


def sandbox_spec(
    confinement: Confinement,
    kernel: KernelCommand,
    session: SessionConfig,
    run_folder: str,
    *,
    limits: Mapping[str, int] | None = None,
    covers: frozenset[str] = frozenset(),
) -> SandboxSpec:
    """Give what a kernel may touch.

    Args:
        confinement: How it is confined.
        kernel: What is started.
        session: For what.
        run_folder: Its run directory.
        limits: Resource limits by the name of `resource.RLIMIT_…` without the prefix.
        covers: Paths at which sandboxes have covers.

    Raises:
        SandboxError: The workspace can't be one.
    """
    check_workspace(session.workspace, run_folder)
    settings = confinement.settings
    writes = settings.workspace == "write" and session.profile != "read-only"
    if writes:
        _make_audit_log(session)
    working_folder = os.path.realpath(kernel.working_folder)
    return SandboxSpec(
        workspace=session.workspace,
        working_folder=working_folder if _within(working_folder, session.workspace) else session.workspace,
        write_workspace=writes,
        islands=survey(session.workspace, further=protected_files(session), covers=covers) if writes else (),
        read_only_paths=(*interpreter_paths(kernel.argv[0]), *_existing(settings.read_only_paths)),
        writable_paths=_existing(settings.writable_paths),
        run_folder=run_folder,
        share_network=confinement.share_network,
        temporary_bytes=settings.temporary_bytes,
        limits={"CORE": 0, **(limits or {})},
    )


def _make_audit_log(session: SessionConfig) -> None:
    """Have the log be there, if it is to be in the workspace: only what exists can be kept from being written."""
    if _within(os.path.realpath(session.audit_path), session.workspace):
        try:
            os.close(os.open(session.audit_path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise SandboxError(f"the audit log {session.audit_path} can't be made: {error.strerror}") from None


def _by_bubblewrap(confinement: Confinement, kernel: KernelCommand, spec: SandboxSpec) -> Launch:
    finding = probe("bubblewrap")
    inner_ticket = msgspec.structs.replace(kernel.ticket, endpoint=f"ipc://{bubblewrap.INNER_RUN}/b/bridge")
    environment = confined_environment(
        kernel.environment,
        confinement.settings,
        interpreter=kernel.argv[0],
        ticket_path=bubblewrap.TICKET_FILE,
        home=bubblewrap.HOME,
        backend="bubblewrap",
    )
    return bubblewrap.launch(
        spec,
        [bubblewrap.CONNECTION_FILE if part == kernel.connection_file else part for part in kernel.argv],
        environment,
        program=finding.program,
        private={
            Path(bubblewrap.CONNECTION_FILE).name: inner_connection_file(kernel.connection_file, spec.run_folder),
            Path(bubblewrap.TICKET_FILE).name: encode_ticket(inner_ticket).encode(),
        },
        system=bubblewrap.system_folders(),
        minimum_landlock=min(1, finding.landlock),
    )


def _by_landlock(confinement: Confinement, kernel: KernelCommand, spec: SandboxSpec) -> Launch:
    inner = {
        landlock.connection_file(spec.run_folder): Path(kernel.connection_file).read_bytes(),
        landlock.ticket_file(spec.run_folder): encode_ticket(kernel.ticket).encode(),
    }
    environment = confined_environment(
        kernel.environment,
        confinement.settings,
        interpreter=kernel.argv[0],
        ticket_path=landlock.ticket_file(spec.run_folder),
        home=landlock.home(spec.run_folder),
        backend="landlock",
    )
    inner_connection_file = landlock.connection_file(spec.run_folder)
    return landlock.launch(
        spec,
        [inner_connection_file if part == kernel.connection_file else part for part in kernel.argv],
        environment,
        files=inner,
        bind_ports=channel_ports(kernel.connection_file),
    )


def channel_ports(connection_file: str) -> tuple[int, ...]:
    """Give the TCP ports a kernel's channels are on, none if they are on sockets with a path."""
    fields = json.loads(Path(connection_file).read_bytes())
    if fields.get("transport") == "ipc":
        return ()
    return tuple(fields[f"{channel}_port"] for channel in ("shell", "iopub", "stdin", "hb", "control"))


def inner_connection_file(path: str, run_folder: str) -> bytes:
    """Give a connection file as the kernel needs it: its channels where it sees them.

    Raises:
        SandboxError: The channels are on TCP, which doesn't reach into the sandbox.
    """
    fields = json.loads(Path(path).read_bytes())
    if fields.get("transport") != "ipc":
        raise SandboxError(
            "a kernel in a sandbox of its own network can't be reached by TCP; set the provisioner's channels to ipc"
        )
    fields["ip"] = fields["ip"].replace(f"{run_folder}/s", bubblewrap.CHANNELS, 1)
    return json.dumps(fields).encode()


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _existing(paths: Sequence[str]) -> tuple[str, ...]:
    for path in paths:
        if not os.path.lexists(path):
            raise SandboxError(f"{path}, named under [sandbox] in the configuration, does not exist")
    return tuple(os.path.realpath(path) for path in paths)
