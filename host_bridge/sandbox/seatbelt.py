"""A sandbox for macOS by Seatbelt: SandboxSpec -> profile text -> sandbox-exec. Pure.

NOT RUN ON A MAC. The profile is written from what others' profiles and Apple's own (/System/Library/Sandbox/Profiles) show of
the language, which Apple doesn't document and sandbox-exec's manual calls deprecated. Until somebody has run the escape tests
against it there, `probing` refuses to rely on it: nothing here is reached from a launch.

What it would give, by the last rule that matches an operation:

    the system and the interpreter    to read and run
    the workspace                     to read and run, and to write but for its islands, which need not exist
    <run>/s                           sockets: made and connected to here, and nowhere else
    <run>/k  <run>/t                  its connection file and ticket; its home and temporary files
    the network                       none, or all of it
    other processes                   neither seen nor signalled, but its own

What Seatbelt has no word for: limits, process numbers of its own, a temporary folder of limited size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from host_bridge.sandbox.spec import Launch, SandboxSpec

PROGRAM = "/usr/bin/sandbox-exec"

SYSTEM_FOLDERS = (
    "/System",
    "/usr/lib",
    "/usr/share",
    "/usr/bin",
    "/bin",
    "/usr/libexec",
    "/Library/Apple",
    "/private/etc/ssl",
    "/private/var/db/timezone",
)
"""Read and run. Not /Library, /opt or /usr/local as a whole: services keep their settings there."""

SYSTEM_FILES = ("/private/etc/hosts", "/private/etc/localtime", "/private/etc/protocols", "/private/etc/services")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_LINKS = ("/", "/etc", "/tmp", "/var", "/private", "/dev", "/private/etc", "/private/tmp", "/private/var")
"""Seen, as any path's resolution needs; what is in them isn't."""

_NETWORK_SERVICES = ("com.apple.dnssd.service", "com.apple.SystemConfiguration.configd", "com.apple.trustd.agent")


def launch(spec: SandboxSpec, argv: Sequence[str], environment: Mapping[str, str]) -> Launch:
    """Give the command that runs `argv` within `spec`."""
    return Launch(
        argv=(PROGRAM, "-p", profile(spec), *argv),
        environment=dict(environment),
        working_folder=spec.working_folder or spec.workspace,
    )


def profile(spec: SandboxSpec) -> str:
    """Give the profile for what may be touched.

    Raises:
        ValueError: A path has a character that can't be written in a profile.
    """
    return "\n".join(("(version 1)", "(deny default)", *_processes(), *_files(spec), *_network(spec))) + "\n"


def _processes() -> Iterator[str]:
    yield "(allow process-fork)"
    yield "(allow process-info* (target same-sandbox))"
    yield "(allow signal (target same-sandbox))"
    yield "(allow sysctl-read)"
    yield "(allow ipc-posix-sem)"


def _files(spec: SandboxSpec) -> Iterator[str]:
    run_folders = [f"{spec.run_folder}/{part}" for part in ("k", "t")]
    writable = [*spec.writable_paths, *([spec.workspace] if spec.write_workspace else ())]
    readable = [*SYSTEM_FOLDERS, *spec.read_only_paths, spec.workspace]
    seen = sorted(
        {folder for path in (*readable, *writable, f"{spec.run_folder}/s") for folder in _above(path)} | set(_LINKS)
    )
    yield _rule("allow", "file-read-metadata", "literal", seen)
    yield _rule("allow", "file-read*", "subpath", [*readable, *writable, *run_folders])
    yield _rule("allow", "file-read*", "literal", [*SYSTEM_FILES, *_DEVICES])
    yield _rule("allow", "process-exec", "subpath", [*readable, *writable])
    yield _rule("allow", "file-write*", "subpath", [*writable, *run_folders])
    yield _rule("allow", "file-write-data", "literal", _DEVICES)
    yield from _protected(spec)
    sockets = [f"{spec.run_folder}/s"]
    yield _rule("allow", "file-read* file-write-create file-write-unlink", "subpath", sockets, "(vnode-type SOCKET)")


def _protected(spec: SandboxSpec) -> Iterator[str]:
    """Take back what lies in writable places and may not be written: the last rule that matches counts."""
    if spec.write_workspace:
        # Moving the workspace itself away would let something else take its name.
        yield _rule("deny", "file-write-unlink", "literal", [spec.workspace])
    islands = [island.path for island in spec.islands if island.kind != "way"]
    if islands and spec.write_workspace:
        yield _rule("deny", "file-write*", "subpath", islands)
    if (ways := [island.path for island in spec.islands if island.kind == "way"]) and spec.write_workspace:
        yield _rule("deny", "file-write-unlink", "literal", ways)
    if spec.read_only_paths:
        yield _rule("deny", "file-write*", "subpath", spec.read_only_paths)
    # A file that runs as its owner is worth nothing inside and somebody's rights outside.
    yield "(deny file-write-setugid)"


def _network(spec: SandboxSpec) -> Iterator[str]:
    if spec.share_network:
        yield "(allow system-socket)"
        yield '(allow network* (local ip "*:*") (remote ip "*:*"))'
        yield _rule("allow", "mach-lookup", "global-name", _NETWORK_SERVICES)
        yield _rule("allow", "file-read*", "literal", ["/private/etc/resolv.conf", "/private/var/run/resolv.conf"])
    else:
        yield "(allow system-socket (socket-domain AF_UNIX))"
    folder = _quoted(f"{spec.run_folder}/s")
    yield f"(allow network-bind (local unix-socket (subpath {folder})))"
    yield f"(allow network-inbound (local unix-socket (subpath {folder})))"
    bridge = _quoted(f"{spec.run_folder}/b/bridge")
    yield f"(allow network-outbound (remote unix-socket (subpath {folder})) (remote unix-socket (literal {bridge})))"


def _rule(effect: str, operation: str, kind: str, paths: Sequence[str], condition: str = "") -> str:
    """Give one rule about several paths; with a condition both must hold."""
    filters = [f"({kind} {_quoted(path)})" for path in dict.fromkeys(paths)]
    if condition:
        filters = [f"(require-all {each} {condition})" for each in filters]
    return f"({effect} {operation} {' '.join(filters)})"


def _above(path: str) -> Iterator[str]:
    """Give the folders a path lies in."""
    parts = path.strip("/").split("/")
    for count in range(1, len(parts)):
        yield "/" + "/".join(parts[:count])


def _quoted(path: str) -> str:
    if not path.isprintable():
        raise ValueError(f"the path {path!r} has characters that a Seatbelt profile can't hold; rename it")
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
