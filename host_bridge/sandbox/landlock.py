"""The sandbox by Landlock and seccomp alone, where bubblewrap doesn't work: nothing is hidden, much is forbidden.

The kernel sees the host's file system and reaches of it what the plan names:

    /usr /lib … and the interpreter    to read and run
    the workspace                      to read and run; to write, the entries it had when the kernel started
    <run>/s                            its channels' sockets and the bridge's: made here, and nothing else can be
    <run>/k                            its connection file and its ticket
    <run>/t                            its home and its temporary files
    a few files of /etc and /proc      by name

Nothing in it may connect to anything, of whatever family: Landlock before version 9 lets every socket that has a path be
reached (Docker's, D-Bus's, an ssh agent's), and one rule for all versions is one that is tried. So the bridge dials in.

What that breaks, each tried in a kernel:

- a new name at the top of the workspace: Landlock only adds rights, so what protects `.git` and the like is that nobody may
  write the folder they are in. Folders that exist may be filled; `hermes.write_file` makes new names, if the policy lets it;
- any TCP, UDP and netlink, name resolution, `multiprocessing.managers`, the debugger;
- what needs /dev/shm: `multiprocessing`'s locks, queues and pools, shared memory. Threads, `subprocess`, and
  `multiprocessing.Process` with a `Pipe` work;
- output of forked processes reaches the notebook only through pipes of their own;
- terminals: `!command` runs with pipes instead, so programs that want a terminal see none;
- /proc but for the process's own folder: `ps`, `top`, and what a child asks about itself;
- a tool call from a forked process.

What it doesn't stop: seeing that a file exists, and its size and times; changing modes, owners and times of the user's files,
without their contents; filling the disk beyond one file's limit; before version 6 of Landlock (Linux 6.12) signals to the
user's other processes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from hermes_protocol import landlock_only
from hermes_protocol.confinement import ConfinementPlan, encode_plan
from host_bridge.sandbox.spec import Launch, SandboxSpec, second_stage


def home(run_folder: str) -> str:
    """The kernel's home and folder for temporary files."""
    return f"{run_folder}/t"


def connection_file(run_folder: str) -> str:
    """Where the kernel finds its connection file; it may rewrite it."""
    return f"{run_folder}/k/connection.json"


def ticket_file(run_folder: str) -> str:
    """Where the kernel finds its ticket, and removes it."""
    return f"{run_folder}/k/ticket.json"


def bridge_endpoint(run_folder: str) -> str:
    """Where the kernel binds and the bridge dials in (`SessionConfig.dials`, `Ticket.bridge_dials`)."""
    return f"ipc://{run_folder}/s/bridge"


def launch(
    spec: SandboxSpec,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    files: Mapping[str, bytes],
    bind_ports: Collection[int] = (),
) -> Launch:
    """Give the command that runs a kernel within `spec`.

    Args:
        spec: What it may touch.
        argv: The kernel's command, beginning with its interpreter.
        environment: Its variables.
        files: The files it is handed, by path; those of `connection_file` and `ticket_file`.
        bind_ports: The TCP ports of its channels, if they are on TCP.

    Raises:
        SandboxError: The command can't be confined.
    """
    return Launch(
        argv=second_stage(argv, "{plan}"),
        environment=dict(environment),
        inputs={"plan": encode_plan(plan(spec, bind_ports))},
        working_folder=spec.working_folder or spec.workspace,
        files=dict(files),
    )


def plan(spec: SandboxSpec, bind_ports: Collection[int] = ()) -> ConfinementPlan:
    """Give what the kernel takes from itself."""
    return landlock_only.plan(
        backend="landlock",
        workspace=spec.workspace,
        write_workspace=spec.write_workspace,
        spare=[island.path for island in spec.islands],
        read_only_paths=spec.read_only_paths,
        writable_paths=(*spec.writable_paths, f"{spec.run_folder}/k", home(spec.run_folder)),
        socket_folders=[f"{spec.run_folder}/s"],
        bind_ports=bind_ports,
        limits=spec.limits,
    )
