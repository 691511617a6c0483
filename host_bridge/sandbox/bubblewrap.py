"""The sandbox by bubblewrap: a file system, process numbers and a network of its own, with Landlock and seccomp inside.

Neither layer was enough alone: the namespaces leave some socket families and kernel interfaces open, Landlock leaves datagrams
and sockets with a path. What the kernel sees:

    /usr /lib … and the interpreter    read-only, as on the host
    the workspace                      at its own path, its islands read-only
    /run/hermes/s                      its channels' sockets: made here, and nothing else can be
    /run/hermes/b                      the bridge's socket
    /run/hermes/k                      its connection file and its ticket, in memory
    /tmp /dev/shm                      of its own, of limited size
    /etc                               a handful of files, most of them made up
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from hermes_protocol.confinement import (
    Access,
    ConfinementPlan,
    LandlockPlan,
    PathRule,
    SeccompPlan,
    encode_plan,
)
from host_bridge.sandbox.spec import Launch, SandboxSpec, second_stage

INNER_RUN = "/run/hermes"
CHANNELS = f"{INNER_RUN}/s"
CONNECTION_FILE = f"{INNER_RUN}/k/connection.json"
TICKET_FILE = f"{INNER_RUN}/k/ticket.json"
PLAN_FILE = f"{INNER_RUN}/plan.json"
HOME = "/tmp/home"

USER = 1000  # inside; outside it is whoever starts it
PRIVATE_BYTES = 65_536  # for two small files

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
SYSTEM_FILES = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/ssl/certs",
    "/etc/timezone",
)
NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/services")

MADE_UP = {
    "passwd": f"user:x:{USER}:{USER}:user:{HOME}:/bin/sh\n",
    "group": f"user:x:{USER}:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "hosts": "127.0.0.1 localhost hermes\n::1 localhost\n",
}
"""Files in /etc that say nothing about the host."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def launch(
    spec: SandboxSpec,
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    program: str,
    private: Mapping[str, bytes],
    system: Mapping[str, str | None],
    minimum_landlock: int = 1,
) -> Launch:
    """Give the command that runs a kernel within `spec`.

    Args:
        spec: What it may touch.
        argv: The kernel's command, beginning with its interpreter, with paths as they are inside.
        environment: Its variables. bubblewrap gets no others either: its own can be read from inside.
        program: bubblewrap's path.
        private: What goes into `/run/hermes/k`, by file name.
        system: Those of `SYSTEM_FOLDERS` that exist, with the target of the link where they are links, else None.
        minimum_landlock: The oldest version to be content with; 0 leaves Landlock out, where the system has none.
    """
    made_up = made_up_files(spec)
    inputs = {"plan": encode_plan(plan(spec, minimum_landlock=minimum_landlock)), **made_up}
    inputs |= {f"private {name}": content for name, content in private.items()}
    arguments = [
        *isolation(spec),
        "--new-session",
        *_variables(environment),
        *file_system(spec, system, made_up),
        *_run_folder(spec, private),
        *("--chdir", spec.working_folder or spec.workspace),
        *("--remount-ro", "/"),
    ]
    inputs["arguments"] = "\0".join(arguments).encode()
    command = (program, "--args", "{arguments}", "--info-fd", "{info}", "--", *second_stage(argv, PLAN_FILE))
    return Launch(command, dict(environment), inputs, "/", reports=True)


def plan(spec: SandboxSpec, *, minimum_landlock: int = 1) -> ConfinementPlan:
    """Give what the kernel takes from itself inside of the namespaces."""
    own = (
        PathRule(INNER_RUN, "read"),
        PathRule(f"{INNER_RUN}/k", "write"),
        PathRule(CHANNELS, "socket_folder"),
    )
    return ConfinementPlan(
        backend="bubblewrap",
        limits=dict(spec.limits),
        landlock=LandlockPlan(minimum_abi=minimum_landlock, paths=(*path_rules(spec), *own))
        if minimum_landlock
        else None,
        seccomp=system_calls(spec),
    )


def system_calls(spec: SandboxSpec) -> SeccompPlan:
    """Give what is left of the system's calls."""
    if spec.share_network:
        return SeccompPlan(socket_families=("unix", "inet", "inet6", "netlink"))
    return SeccompPlan(socket_families=("unix", "inet", "inet6"))


def made_up_files(spec: SandboxSpec) -> dict[str, bytes]:
    """Give the inputs that stand in for files of the host's /etc."""
    return {
        f"etc {name}": text.encode()
        for name, text in MADE_UP.items()
        if not (spec.share_network and f"/etc/{name}" in NETWORK_FILES)
    }


def isolation(spec: SandboxSpec) -> list[str]:
    """Give the options that set it apart from the host's processes, users, network and variables."""
    network = ["--share-net"] if spec.share_network else []
    return [
        "--unshare-all",
        *network,
        "--unshare-user",  # --unshare-all only tries it
        "--disable-userns",
        "--die-with-parent",
        *("--uid", str(USER)),
        *("--gid", str(USER)),
        *("--hostname", "hermes"),
        "--clearenv",
    ]


def file_system(spec: SandboxSpec, system: Mapping[str, str | None], made_up: Iterable[str]) -> list[str]:
    """Give the options that build what it sees of files.

    Args:
        spec: What it may touch.
        system: As for `launch`.
        made_up: The names of the inputs that `made_up_files` gave.
    """
    files = (
        part for name in made_up for part in ("--ro-bind-data", f"{{{name}}}", f"/etc/{name.removeprefix('etc ')}")
    )
    return [*_system(system, share_network=spec.share_network), *_temporary(spec), *files, *_mounts(spec)]


def _variables(environment: Mapping[str, str]) -> list[str]:
    return [part for name, value in environment.items() for part in ("--setenv", name, value)]


def _system(system: Mapping[str, str | None], *, share_network: bool) -> list[str]:
    arguments = []
    for path, target in system.items():
        arguments += ["--symlink", target, path] if target is not None else ["--ro-bind", path, path]
    files = (*SYSTEM_FILES, *NETWORK_FILES) if share_network else SYSTEM_FILES
    for path in files:
        arguments += ["--ro-bind-try", path, path]
    return arguments


def _temporary(spec: SandboxSpec) -> list[str]:
    size = str(spec.temporary_bytes)
    return [
        # Read-only as a whole: /proc/sys belongs to root, whom nothing but Landlock would keep from the system's settings.
        *("--proc", "/proc", "--remount-ro", "/proc"),
        *("--dev", "/dev"),
        *("--size", size, "--tmpfs", "/tmp"),
        *("--size", size, "--tmpfs", "/dev/shm"),
        *("--dir", HOME),
    ]


def _mounts(spec: SandboxSpec) -> list[str]:
    """Give the binds, parents first, so that what lies in another mount isn't hidden by it; read-only wins at one path."""
    mounts = dict.fromkeys(spec.writable_paths, "--bind")
    mounts[spec.workspace] = "--bind" if spec.write_workspace else "--ro-bind"
    mounts |= dict.fromkeys(spec.read_only_paths, "--ro-bind")
    arguments: list[tuple[str, list[str]]] = [(path, [kind, path, path]) for path, kind in mounts.items()]
    if spec.write_workspace:
        arguments += [(island.path, _island(island.path, island.kind)) for island in spec.islands]
    return [part for _, parts in sorted(arguments, key=lambda entry: entry[0].split("/")) for part in parts]


def _island(path: str, kind: str) -> list[str]:
    if kind == "no folder":
        return ["--size", "4096", "--tmpfs", path, "--remount-ro", path]
    if kind == "no file":
        return ["--ro-bind", "/dev/null", path]
    return ["--bind" if kind == "way" else "--ro-bind", path, path]


def _run_folder(spec: SandboxSpec, private: Iterable[str]) -> list[str]:
    arguments = [
        *("--bind", f"{spec.run_folder}/s", CHANNELS),
        *("--ro-bind", f"{spec.run_folder}/b", f"{INNER_RUN}/b"),
        *("--ro-bind-data", "{plan}", PLAN_FILE),
        *("--size", str(PRIVATE_BYTES), "--perms", "0700", "--tmpfs", f"{INNER_RUN}/k"),
    ]
    for name in private:
        arguments += ["--perms", "0600", "--file", f"{{private {name}}}", f"{INNER_RUN}/k/{name}"]
    return arguments


def path_rules(spec: SandboxSpec) -> list[PathRule]:
    """Give what Landlock leaves of the files it sees, as a second wall."""
    rules: list[tuple[str, Access]] = [("/", "list"), ("/proc", "read"), ("/etc", "read")]
    rules += [(path, "execute") for path in SYSTEM_FOLDERS]
    rules += [(path, "execute") for path in spec.read_only_paths]
    rules += [(path, "write") for path in spec.writable_paths]
    rules.append((spec.workspace, "write" if spec.write_workspace else "execute"))
    rules += [(f"/dev/{name}", "device") for name in _DEVICES]
    rules += [("/dev/pts", "terminal"), ("/dev/ptmx", "terminal"), ("/dev/shm", "write"), ("/tmp", "write")]
    return [PathRule(path, access) for path, access in rules]


def system_folders() -> dict[str, str | None]:
    """Look which of `SYSTEM_FOLDERS` this machine has, and which of them are links."""
    found: dict[str, str | None] = {}
    for path in SYSTEM_FOLDERS:
        if os.path.islink(path):  # noqa: PTH114 - names, not Path objects, all the way
            found[path] = os.readlink(path)  # noqa: PTH115
        elif os.path.isdir(path):  # noqa: PTH112
            found[path] = None
    return found
