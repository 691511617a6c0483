"""The filter: evaluated here for both architectures, and asked of the system for this one."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
from collections.abc import Sequence

import pytest
from confined_process import outcome, outcomes

from hermes_protocol.confinement import ConfinementPlan, SeccompPlan
from hermes_runtime.confinement import seccomp, syscalls, system

UNSUPPORTED = errno.errorcode[errno.EOPNOTSUPP]  # the number has two names
ALLOW = "allow"
KILL = "kill"
AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
ARCHITECTURES = list(AUDIT)

INSIDE = SeccompPlan(socket_families=("unix", "inet", "inet6"))  # of bubblewrap
ALONE = SeccompPlan(socket_families=("unix",), stream_only=True, forbid_connect=True)
BY_ITSELF = SeccompPlan(socket_families=("unix", "inet"), stream_only=True, forbid_connect=True)
PLANS = [INSIDE, ALONE, BY_ITSELF]

FAST_OPEN = 0x2000_0000
TIOCSTI = 0x5412
NEW_USER = 0x1000_0000


def judge(program: bytes, architecture: str, number: int, arguments: Sequence[int] = ()) -> str:
    """Do what the system does with a filter: `"allow"`, `"kill"`, or the name of the error number it answers."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, AUDIT.get(architecture, 0), 0, *padded)
    accumulator = place = 0
    for _ in range(len(program) // 8):
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, place * 8)
        place += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:  # and
            accumulator &= value
        elif code == 0x06:  # return
            return {0x7FFF_0000: ALLOW, 0x8000_0000: KILL}.get(value) or errno.errorcode[value & 0xFFFF]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            place += if_true if holds else if_false
    raise AssertionError("the filter ended without an answer")


def ask(plan: SeccompPlan, architecture: str, name: str, *arguments: int) -> str:
    number = syscalls.number(name, architecture)
    assert number is not None
    return judge(seccomp.program(plan, architecture), architecture, number, arguments)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", PLANS)
def test_what_no_notebook_needs_is_refused(plan: SeccompPlan, architecture: str) -> None:
    program = seccomp.program(plan, architecture)
    answers = {
        judge(program, architecture, number)
        for name in syscalls.DENIED
        if (number := syscalls.number(name, architecture)) is not None
    }
    assert answers == {"EPERM"}
    assert judge(program, architecture, syscalls.FILTERED["clone3"][0] or 0) == "ENOSYS"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", PLANS)
def test_every_other_call_is_left_alone(plan: SeccompPlan, architecture: str) -> None:
    program = seccomp.program(plan, architecture)
    judged = {syscalls.number(name, architecture) for name in (*syscalls.DENIED, *syscalls.FILTERED)}
    answers = {judge(program, architecture, number) for number in range(600) if number not in judged}
    assert answers == {ALLOW}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_another_architecture_s_calls_end_the_process(architecture: str) -> None:
    other = ARCHITECTURES[1 - ARCHITECTURES.index(architecture)]
    assert judge(seccomp.program(ALONE, architecture), other, 0) == KILL
    assert judge(seccomp.program(ALONE, architecture), "i386", 0) == KILL


def test_the_second_table_of_x86_64_is_no_way_round() -> None:
    assert judge(seccomp.program(ALONE, "x86_64"), "x86_64", 0x4000_0000 | 42) == KILL
    assert judge(seccomp.program(ALONE, "aarch64"), "aarch64", 0x4000_0000) == ALLOW  # which has no second table


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", PLANS)
def test_processes_and_threads_are_made_and_namespaces_not(plan: SeccompPlan, architecture: str) -> None:
    thread = 0x003D_0F00  # what the C library's threads ask for
    assert ask(plan, architecture, "clone", 17) == ALLOW
    assert ask(plan, architecture, "clone", thread) == ALLOW
    for flag in (0x80, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, NEW_USER, 0x2000_0000, 0x4000_0000):
        assert ask(plan, architecture, "clone", 17 | flag) == "EPERM", hex(flag)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", PLANS)
def test_nothing_is_typed_into_terminals(plan: SeccompPlan, architecture: str) -> None:
    assert ask(plan, architecture, "ioctl", 1, TIOCSTI) == "EPERM"
    assert ask(plan, architecture, "ioctl", 1, 0x541C) == "EPERM"
    assert ask(plan, architecture, "ioctl", 1, 0x5413) == ALLOW  # a terminal's size
    # The upper half of the number is one the system doesn't look at, so the filter must not either.
    assert ask(plan, architecture, "ioctl", 1, TIOCSTI | 1 << 32) == "EPERM"


KINDS = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "raw": socket.SOCK_RAW,
    "packets": socket.SOCK_SEQPACKET,
}
FAMILIES = {
    "unix": 1,
    "inet": 2,
    "inet6": 10,
    "netlink": 16,
    "packet": 17,
    "alg": 38,
    "vsock": 40,
    "xdp": 44,
    "smc": 43,
}
MPTCP = 262


def allowed_sockets(plan: SeccompPlan, architecture: str) -> set[str]:
    program = seccomp.program(plan, architecture)
    number = syscalls.number("socket", architecture)
    assert number is not None
    found = set()
    for (family, value), (kind, type_), protocol in itertools.product(
        FAMILIES.items(), KINDS.items(), (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, MPTCP)
    ):
        for flags in (0, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK):
            if judge(program, architecture, number, (value, type_ | flags, protocol)) == ALLOW:
                found.add(f"{family} {kind} {protocol}" if protocol else f"{family} {kind}")
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_which_sockets_can_be_made(architecture: str) -> None:
    local = {"unix stream", "unix raw", "unix packets"}
    assert {name for name in allowed_sockets(ALONE, architecture) if name.count(" ") == 1} == local
    tcp = {"inet stream", f"inet stream {socket.IPPROTO_TCP}"}
    assert {name for name in allowed_sockets(BY_ITSELF, architecture) if name.startswith("inet")} == tcp
    families = {name.split()[0] for name in allowed_sockets(INSIDE, architecture)}
    assert families == {"unix", "inet", "inet6"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", PLANS)
def test_netlink_fails_as_libzmq_can_bear_it(plan: SeccompPlan, architecture: str) -> None:
    assert ask(plan, architecture, "socket", FAMILIES["netlink"], socket.SOCK_RAW) == UNSUPPORTED


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_connecting_is_forbidden_in_every_form_where_it_is_forbidden(architecture: str) -> None:
    for plan in (ALONE, BY_ITSELF):
        assert ask(plan, architecture, "connect") == "EACCES"
        assert ask(plan, architecture, "sendto", 3, 0, 0, FAST_OPEN) == "EACCES"
        assert ask(plan, architecture, "sendmsg", 3, 0, FAST_OPEN) == "EACCES"
        assert ask(plan, architecture, "sendmmsg", 3, 0, 1, FAST_OPEN) == "EACCES"
        assert ask(plan, architecture, "sendto", 3, 0, 0, socket.MSG_NOSIGNAL) == ALLOW
        assert ask(plan, architecture, "socketpair", socket.AF_UNIX, socket.SOCK_STREAM) == ALLOW
        assert ask(plan, architecture, "socketpair", 30) == "EAFNOSUPPORT"  # TIPC
    assert ask(INSIDE, architecture, "connect") == ALLOW


def test_there_is_no_filter_for_an_architecture_nobody_wrote_one_for() -> None:
    with pytest.raises(ValueError, match="no seccomp filter for riscv64"):
        seccomp.program(ALONE, "riscv64")


@pytest.mark.skipif(system.machine() not in ARCHITECTURES, reason="no filter for this processor")
def test_the_system_does_as_the_filter_says() -> None:
    plan = ConfinementPlan(backend="landlock", seccomp=ALONE)
    with socket.socket(socket.AF_UNIX) as listener:
        name = "\0hermes-seccomp-test"
        listener.bind(name)
        listener.listen()
        found = outcomes(
            plan,
            {
                "namespace": f"system_call({syscalls.number('unshare', system.machine())}, 0x10000000)",
                "ring": "system_call(425, 1, None)",
                "keyring": f"system_call({syscalls.number('keyctl', system.machine())}, 0)",
                "tcp": "socket.socket(socket.AF_INET)",
                "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
                "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
                "vsock": "socket.socket(socket.AF_VSOCK)",
                "local datagram": "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)",
                "connect": f"socket.socket(socket.AF_UNIX).connect({name!r})",
                "pair": "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'",
                "thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
                "child": "subprocess.run(['/bin/true'], check=True)",
            },
        )
    assert found == {
        "namespace": "EPERM",
        "ring": "EPERM",
        "keyring": "EPERM",
        "tcp": "EAFNOSUPPORT",
        "udp": "EAFNOSUPPORT",
        "netlink": UNSUPPORTED,
        "vsock": "EAFNOSUPPORT",
        "local datagram": "EAFNOSUPPORT",
        "connect": "EACCES",
        "pair": "ok",
        "thread": "ok",
        "child": "ok",
    }


def test_a_child_is_no_freer_than_its_parent() -> None:
    attempt = "import socket, sys\ntry:\n    socket.socket(socket.AF_INET)\nexcept OSError as error:\n    sys.exit(error.errno)"
    code = f"assert subprocess.run([sys.executable, '-c', {attempt!r}]).returncode == errno.EAFNOSUPPORT"
    assert outcome(ConfinementPlan(backend="landlock", seccomp=ALONE), code) == "ok"
