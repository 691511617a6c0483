"""Landlock: which paths stay reachable, and where asked which TCP ports, for this process and all it starts.

The kernel's rights grew with its ABI version; a right this system doesn't know can't be taken away here, which is why plans
name the oldest version they are content with.
"""

from __future__ import annotations

import ctypes
import enum
import os
import stat
import struct
from collections.abc import Collection, Iterator

from hermes_protocol.confinement import Access, LandlockPlan, PathRule
from hermes_runtime.confinement import system

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2


class Right(enum.IntFlag):
    """What may be done to files, as the system numbers it."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


_READ = Right.READ_FILE | Right.READ_DIR
_EXECUTE = _READ | Right.EXECUTE
_DEVICE = _READ | Right.WRITE_FILE

RIGHTS: dict[Access, Right] = {
    "list": Right.READ_DIR,
    "read": _READ,
    "execute": _EXECUTE,
    "write": (
        _EXECUTE
        | Right.WRITE_FILE
        | Right.TRUNCATE
        | Right.REMOVE_DIR
        | Right.REMOVE_FILE
        | Right.MAKE_DIR
        | Right.MAKE_REG
        | Right.MAKE_SOCK
        | Right.MAKE_FIFO
        | Right.MAKE_SYM
        | Right.REFER
    ),
    "device": _DEVICE,
    "terminal": _DEVICE | Right.IOCTL_DEV,
    "socket_folder": Right.READ_DIR | Right.MAKE_SOCK | Right.REMOVE_FILE,
}
"""What each word of a plan leaves."""

_ON_FILES = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV

_NET_BIND_TCP = 1
_NET_CONNECT_TCP = 2
_SCOPES = 3  # abstract sockets and signals, both from version 6


def abi_version() -> int:
    """How much Landlock this system has; 0 for none."""
    try:
        call = system.library().syscall
    except OSError:
        return 0
    version = call(system.SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION)
    return max(0, int(version))


def known_rights(abi: int) -> Right:
    """All the rights that a version can take away."""
    known = Right((1 << 13) - 1)
    for version, right in ((2, Right.REFER), (3, Right.TRUNCATE), (5, Right.IOCTL_DEV)):
        if abi >= version:
            known |= right
    return known


def restrict(plan: LandlockPlan) -> None:
    """Leave this process what the plan names, and nothing else.

    Raises:
        OSError: The system refused a part of it; nothing may run.
        RuntimeError: The system's Landlock is older than the plan is content with.
    """
    abi = abi_version()
    if abi < plan.minimum_abi:
        raise RuntimeError(
            f"this system has version {abi} of Landlock, the plan needs {plan.minimum_abi}; update the kernel"
        )
    files = known_rights(abi)
    network = (_NET_BIND_TCP | _NET_CONNECT_TCP) if plan.restrict_network and abi >= 4 else 0
    ruleset = _create_ruleset(abi, files, network)
    try:
        for rule in plan.paths:
            for path in taken_apart(rule.path, rule.spare):
                _allow_path(ruleset, path, RIGHTS[rule.access] & files, exact=rule.access == "write")
        if plan.own_proc:
            _allow_path(ruleset, f"/proc/{os.getpid()}", _READ & files)
        if network:
            for port in plan.bind_ports:
                _add_rule(ruleset, _RULE_NET_PORT, struct.pack("=QQ", _NET_BIND_TCP, port), f"port {port}")
        system.forbid_new_privileges()
        system.check(system.library().syscall(system.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def taken_apart(folder: str, spare: Collection[str]) -> Iterator[str]:
    """Give what covers a folder without what is to be spared: itself if that is nothing, else its entries now, so far down.

    Links are passed over: what they lead to is somewhere else. So are sockets, devices and pipes.
    """
    if not any(path == folder or path.startswith(f"{folder.rstrip('/')}/") for path in spare):
        yield folder
        return
    if folder in spare:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # not ours to read, so nothing to give either
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from taken_apart(entry.path, spare)
        elif entry.is_file(follow_symlinks=False) and entry.path not in spare:
            yield entry.path


def ruleset_attribute(abi: int, files: Right, network: int = 0) -> bytes:
    """Give what a ruleset of this version is made from: the rights it takes away where no rule leaves them."""
    scopes = _SCOPES if abi >= 6 else 0
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8  # an older system refuses what it doesn't know
    return struct.pack("=QQQ", files, network, scopes)[:size]


def rights_at(rule: PathRule, abi: int) -> tuple[Right, Right]:
    """Give what a rule leaves at its path, if that is a folder and if it is a file."""
    rights = RIGHTS[rule.access] & known_rights(abi)
    return rights, rights & _ON_FILES


def _create_ruleset(abi: int, files: Right, network: int) -> int:
    attribute = ruleset_attribute(abi, files, network)
    size = ctypes.c_size_t(len(attribute))
    descriptor = system.library().syscall(system.SYS_LANDLOCK_CREATE_RULESET, attribute, size, 0)
    return system.check(int(descriptor), "landlock_create_ruleset")


def _allow_path(ruleset: int, path: str, rights: Right, *, exact: bool = False) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return  # what doesn't exist needs no permission
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _ON_FILES
        # Since the plan was made, somebody could have put a link there, and what it leads to would become writable.
        if exact and (led_to := os.readlink(f"/proc/self/fd/{descriptor}")) != path:  # noqa: PTH115 - not a Path's business
            raise RuntimeError(f"{path} is not what it was when the plan was made: it leads to {led_to}")
        if rights:
            _add_rule(ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), path)
    finally:
        os.close(descriptor)


def _add_rule(ruleset: int, kind: int, attribute: bytes, what: str) -> None:
    result = system.library().syscall(system.SYS_LANDLOCK_ADD_RULE, ruleset, kind, attribute, 0)
    system.check(int(result), f"landlock_add_rule for {what}")
