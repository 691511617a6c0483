"""seccomp: which system calls, and with which arguments, this process and all it starts may make.

`program` is a pure value, the filter's bytes; `install` hands it to the system. A filter sees numbers only, not what pointers
point to: paths are Landlock's business, and `clone3` and `openat2`, whose flags are in memory, are answered "no such call" so
that libraries fall back to `clone` and `openat`.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct

from hermes_protocol.confinement import SeccompPlan
from hermes_runtime.confinement import syscalls, system

# the instructions of classic BPF that are used here
_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
_AND = 0x54

_ALLOW = 0x7FFF_0000
_KILL = 0x8000_0000
_REFUSE = 0x0005_0000  # with an error number in the low bits

# where struct seccomp_data has what
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = (16, 24, 32, 40)  # the low halves; the filter reads 32 bits

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_X32_CALLS = 0x4000_0000  # x86_64's second table of calls, by which a filter of the first is walked around

_NEW_NAMESPACES = 0x7E02_0000 | 0x80  # CLONE_NEW…: cgroup, uts, ipc, user, pid, net, mount, time
_TIOCSTI = 0x5412  # types into the terminal of whoever started us
_TIOCLINUX = 0x541C
_MSG_FASTOPEN = 0x2000_0000  # a connect that isn't one
_SOCKET_TYPE = 0xF
_CREATES = 0o100 | 0o20_000_000  # O_CREAT, O_TMPFILE: without them the mode means nothing
_OTHERS_RIGHTS = 0o6000  # a file that runs as its owner or its group
_FAMILIES = {"unix": socket.AF_UNIX, "inet": socket.AF_INET, "inet6": socket.AF_INET6, "netlink": 16}
_SET_MODE_FILTER = 1
_TO_ALL_THREADS = 1


class _Assembler:
    """Instructions with named targets; a target must come later than the jump to it, as BPF demands."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def add(self, code: int, value: int, if_true: str = "", if_false: str = "") -> None:
        """Add an instruction; an empty target is the next one."""
        self._instructions.append((code, value, if_true, if_false))

    def load(self, offset: int) -> None:
        self.add(_LOAD, offset)

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self._labels[name] = len(self._instructions)

    def refuse(self, name: str, number: int) -> None:
        self.label(name)
        self.add(_RETURN, _REFUSE | number)

    def assemble(self) -> bytes:
        """Give the program.

        Raises:
            ValueError: A jump is too far or backward: a defect of the program.
        """
        out = bytearray()
        for place, (code, value, if_true, if_false) in enumerate(self._instructions):
            distances = [self._labels[name] - place - 1 if name else 0 for name in (if_true, if_false)]
            if not all(0 <= distance < 256 for distance in distances):
                raise ValueError(f"instruction {place} can't jump by {distances}")
            out += struct.pack("=HBBI", code, *distances, value)
        return bytes(out)


def program(plan: SeccompPlan, architecture: str = "") -> bytes:
    """Give the filter for a plan.

    Args:
        plan: What stays possible.
        architecture: `x86_64` or `aarch64`; this machine's if empty.

    Raises:
        ValueError: No filter is known for the architecture, so nothing may run there.
    """
    architecture = architecture or system.machine()
    if architecture not in _AUDIT_ARCHITECTURE:
        raise ValueError(f"no seccomp filter for {architecture}; there are: {', '.join(_AUDIT_ARCHITECTURE)}")
    code = _Assembler()
    code.load(_ARCHITECTURE)
    code.add(_JUMP_EQUAL, _AUDIT_ARCHITECTURE[architecture], "", "kill")
    code.load(_NUMBER)
    if architecture == "x86_64":
        code.add(_JUMP_AT_LEAST, _X32_CALLS, "kill")
    _sort_calls(code, plan, architecture)
    _judge_arguments(code, plan)
    _outcomes(code)
    return code.assemble()


def _sort_calls(code: _Assembler, plan: SeccompPlan, architecture: str) -> None:
    """Send each call to where it is judged; what isn't named is allowed."""

    def send(name: str, target: str) -> None:
        number = syscalls.number(name, architecture)
        if number is not None:
            code.add(_JUMP_EQUAL, number, target)

    for name in syscalls.DENIED:
        send(name, "not permitted")
    if plan.forbid_connect:
        send("connect", "denied")
    if plan.forbid_connect or plan.stream_only:
        send("sendto", "flags in 4th")
        send("sendmmsg", "flags in 4th")
        send("sendmsg", "flags in 3rd")
    for name in ("clone3", "openat2"):
        send(name, "no such call")
    for name in ("chmod", "fchmod", "creat", "mknod"):
        send(name, "mode in 2nd")
    for name in ("fchmodat", "fchmodat2", "mknodat"):
        send(name, "mode in 3rd")
    for name in ("clone", "ioctl", "open", "openat", "socket", "socketpair"):
        send(name, name)
    code.add(_RETURN, _ALLOW)


def _judge_arguments(code: _Assembler, plan: SeccompPlan) -> None:
    code.label("clone")
    code.load(_ARGUMENTS[0])
    code.add(_JUMP_ANY_BIT, _NEW_NAMESPACES, "not permitted", "allowed")
    code.label("ioctl")
    code.load(_ARGUMENTS[1])
    code.add(_JUMP_EQUAL, _TIOCSTI, "not permitted")
    code.add(_JUMP_EQUAL, _TIOCLINUX, "not permitted", "allowed")
    # Inside, such a file is worth nothing; on the host it would run as whoever started the kernel, for anybody.
    for label, argument, mode in (("open", 1, "mode in 3rd"), ("openat", 2, "mode in 4th")):
        code.label(label)
        code.load(_ARGUMENTS[argument])
        code.add(_JUMP_ANY_BIT, _CREATES, mode, "allowed")
    for label, argument in (("mode in 2nd", 1), ("mode in 3rd", 2), ("mode in 4th", 3)):
        code.label(label)
        code.load(_ARGUMENTS[argument])
        code.add(_JUMP_ANY_BIT, _OTHERS_RIGHTS, "not permitted", "allowed")
    for label, argument in (("flags in 4th", 3), ("flags in 3rd", 2)):
        code.label(label)
        code.load(_ARGUMENTS[argument])
        code.add(_JUMP_ANY_BIT, _MSG_FASTOPEN, "denied", "allowed")
    code.label("socketpair")
    code.load(_ARGUMENTS[0])
    code.add(_JUMP_EQUAL, socket.AF_UNIX, "allowed", "no such family")
    code.label("socket")
    code.load(_ARGUMENTS[0])
    for family in plan.socket_families:
        code.add(_JUMP_EQUAL, _FAMILIES[family], _judge_socket(plan, family))
    # libzmq aborts in getifaddrs() unless netlink fails with exactly this.
    code.add(_JUMP_EQUAL, _FAMILIES["netlink"], "not supported", "no such family")
    code.label("unix socket")
    code.load(_ARGUMENTS[1])
    code.add(_AND, _SOCKET_TYPE)
    code.add(_JUMP_EQUAL, socket.SOCK_DGRAM, "no such family", "allowed")  # sendto() needs no connect()
    code.label("internet socket")
    code.load(_ARGUMENTS[1])
    code.add(_AND, _SOCKET_TYPE)
    code.add(_JUMP_EQUAL, socket.SOCK_STREAM, "", "no such family")
    code.load(_ARGUMENTS[2])
    code.add(_JUMP_EQUAL, 0, "allowed")
    code.add(_JUMP_EQUAL, socket.IPPROTO_TCP, "allowed", "no such family")  # MPTCP passes by Landlock


def _judge_socket(plan: SeccompPlan, family: str) -> str:
    if family == "unix" and plan.forbid_connect:
        return "unix socket"
    if family in ("inet", "inet6") and plan.stream_only:
        return "internet socket"
    return "allowed"


def _outcomes(code: _Assembler) -> None:
    code.refuse("no such family", errno.EAFNOSUPPORT)
    code.refuse("not supported", errno.EOPNOTSUPP)
    code.refuse("denied", errno.EACCES)
    code.refuse("not permitted", errno.EPERM)
    code.refuse("no such call", errno.ENOSYS)
    code.label("allowed")
    code.add(_RETURN, _ALLOW)
    code.label("kill")
    code.add(_RETURN, _KILL)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(plan: SeccompPlan) -> None:
    """Put the filter on this process, all its threads and all it starts.

    Raises:
        OSError: The system refused; nothing may run.
        ValueError: There is no filter for this architecture.
    """
    code = program(plan)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = _Filter(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    system.forbid_new_privileges()
    result = system.library().syscall(
        system.SYS_SECCOMP[system.machine()], _SET_MODE_FILTER, _TO_ALL_THREADS, ctypes.byref(filter_program)
    )
    system.check(int(result), "seccomp")
