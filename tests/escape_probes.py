"""What a hostile cell tries, one function for each way out. Runs in the kernel, so: the standard library, and pyzmq.

A probe gives its loot: what it got that it must not have. Nothing, or an exception, means that it was stopped. `collect()` runs
them all, each by itself, and gives the results by name; what a probe left on the host, the host looks for.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import mmap
import os
import pathlib
import platform
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

MARK = b"escaped"
LIBRARY = ctypes.CDLL(None, use_errno=True)
LIBRARY.syscall.restype = ctypes.c_long
IS_X86 = platform.machine() == "x86_64"

Host = dict[str, Any]
Probe = Callable[[Host], Any]
PROBES: dict[str, Probe] = {}


def probe(row: str) -> Callable[[Probe], Probe]:
    def register(function: Probe) -> Probe:
        PROBES[f"{row}_{function.__name__}"] = function
        return function

    return register


def collect(host: Host) -> dict[str, dict[str, Any]]:
    """Run every probe. A result has `loot`, or the `error` that stopped it."""
    results = {}
    for name, function in PROBES.items():
        try:
            results[name] = {"loot": function(host), "error": None}
        except BaseException as error:
            number = getattr(error, "errno", None)
            results[name] = {
                "loot": None,
                "error": errno.errorcode.get(number, "") or f"{type(error).__name__}: {error}",
            }
    return results


def each(actions: list[Callable[[], Any]]) -> list[str]:
    """Try several things; give what succeeded."""
    done = []
    for number, action in enumerate(actions):
        try:
            result = action()
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        done.append(f"{number}: {result!r}")
    return done


def call(*arguments: Any) -> int:
    """Make a system call by number."""
    ctypes.set_errno(0)
    result = int(LIBRARY.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result


def connect(family: int, kind: int, address: Any, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol) as made:
        made.settimeout(1)
        made.connect(address)
        with contextlib.suppress(OSError):
            made.send(MARK)
        return f"reached {address}"


# S17: descriptors; first, before other probes open any ------------------------------------------------------------------


@probe("S17")
def inherited_descriptors(host: Host) -> Any:
    """Pipes, sockets and what has no place in a file system, but for two devices."""
    harmless = ("pipe:", "socket:", "anon_inode:", "/dev/null", "/dev/urandom", f"/proc/{os.getpid()}/fd")
    targets = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
    return [target for target in targets if not target.startswith(harmless)]


@probe("S17")
def output_opened_again(host: Host) -> Any:
    """The host's own file behind standard output could be read and cut short; behind a pipe there is nothing."""
    done = []
    for number in (0, 1, 2):
        path = f"/proc/self/fd/{number}"
        done += each([lambda p=path: os.truncate(p, 0)])
        if os.path.isfile(path):
            done.append(path)
    return done


# S1: the network ---------------------------------------------------------------------------------------------------------


@probe("S1")
def tcp_connect(host: Host) -> Any:
    targets = [(socket.AF_INET, ("127.0.0.1", host["tcp4"])), (socket.AF_INET, ("127.0.0.1", host["tcp_all"]))]
    targets += [(socket.AF_INET, (address, host["tcp_all"])) for address in host["addresses"]]
    targets += [(socket.AF_INET6, ("::1", host["tcp6"])), (socket.AF_INET6, ("::ffff:127.0.0.1", host["tcp4"]))]
    targets += [(socket.AF_INET, ("192.0.2.1", 443)), (socket.AF_INET, ("169.254.169.254", 80))]
    return each([lambda f=f, a=a: connect(f, socket.SOCK_STREAM, a) for f, a in targets])


@probe("S1")
def tcp_by_other_protocols(host: Host) -> Any:
    ways = [
        (socket.SOCK_STREAM, 262),
        (socket.SOCK_STREAM, 132),
        (socket.SOCK_DCCP if hasattr(socket, "SOCK_DCCP") else 6, 33),
    ]
    return each([lambda k=k, p=p: connect(socket.AF_INET, k, ("127.0.0.1", host["tcp4"]), p) for k, p in ways])


@probe("S1")
def tcp_fast_open(host: Host) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
        made.settimeout(1)
        return made.sendto(MARK, 0x2000_0000, ("127.0.0.1", host["tcp4"]))


@probe("S1")
def datagrams(host: Host) -> Any:
    """A datagram into the void is no error: whether it arrived, the host says."""
    for family, kind, address in (
        (socket.AF_INET, 0, ("127.0.0.1", host["udp4"])),
        (socket.AF_INET6, 0, ("::1", host["udp6"])),
        (socket.AF_INET, 136, ("127.0.0.1", host["udp4"])),
        *((socket.AF_INET, 0, (address, host["udp4"])) for address in host["addresses"]),
        (socket.AF_INET, 0, ("255.255.255.255", host["udp4"])),
    ):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM, kind) as made:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            made.sendto(MARK, address)


@probe("S1")
def names(host: Host) -> Any:
    return each([lambda: socket.getaddrinfo("example.com", 80), lambda: socket.gethostbyname("host.docker.internal")])


@probe("S1")
def by_a_program(host: Host) -> Any:
    """Another process has no more than this one."""
    script = f"exec 3<>/dev/tcp/127.0.0.1/{host['tcp4']} && echo {MARK.decode()} >&3"
    return subprocess.run(["bash", "-c", script], capture_output=True, timeout=5).returncode == 0


@probe("S1")
def interfaces(host: Host) -> Any:
    return [name for _, name in socket.if_nameindex() if name != "lo"]


# S2: kinds of sockets ----------------------------------------------------------------------------------------------------

FAMILIES = {
    "AF_AX25": 3, "AF_IPX": 4, "AF_X25": 9, "AF_KEY": 15, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_RDS": 21, "AF_PPPOX": 24,
    "AF_CAN": 29, "AF_TIPC": 30, "AF_BLUETOOTH": 31, "AF_ALG": 38, "AF_NFC": 39, "AF_VSOCK": 40, "AF_KCM": 41,
    "AF_QIPCRTR": 42, "AF_SMC": 43, "AF_XDP": 44,
}  # fmt: skip


@probe("S2")
def socket_families(host: Host) -> Any:
    found = []
    for name, number in FAMILIES.items():
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            with contextlib.suppress(OSError), socket.socket(number, kind):
                found.append((name, kind))
    return found


@probe("S2")
def raw_sockets_and_ping(host: Host) -> Any:
    return each(
        [
            lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close(),
            lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW).close(),
            lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(
                b"\x08" * 8, ("127.0.0.1", 0)
            ),
        ]
    )


@probe("S2")
def vsock_to_the_hypervisor(host: Host) -> Any:
    return connect(getattr(socket, "AF_VSOCK", 40), socket.SOCK_STREAM, (2, 1024))


# S3: sockets on the host -------------------------------------------------------------------------------------------------


@probe("S3")
def sockets_by_path(host: Host) -> Any:
    prefixes = ("", "/proc/self/root", "/proc/1/root", f"/proc/{os.getppid()}/root", "..", "../../../../..")
    paths = [prefix + path for path in host["unix_paths"] for prefix in prefixes]
    paths += ["/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket", "/tmp/.X11-unix/X0"]
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
    return each([lambda p=p, k=k: connect(socket.AF_UNIX, k, p) for p in paths for k in kinds])


@probe("S3")
def abstract_sockets(host: Host) -> Any:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
    return each([lambda n=n, k=k: connect(socket.AF_UNIX, k, "\0" + n) for n in host["abstract"] for k in kinds])


@probe("S3")
def abstract_datagram_without_connect(host: Host) -> Any:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        return [made.sendto(MARK, "\0" + name) for name in host["abstract"]]


@probe("S3")
def addresses_of_agents(host: Host) -> Any:
    names = (
        "SSH_AUTH_SOCK",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XDG_RUNTIME_DIR",
        "DOCKER_HOST",
    )
    return [name for name in names if name in os.environ]


# S4: files on the host ---------------------------------------------------------------------------------------------------


@probe("S4")
def secrets_by_path(host: Host) -> Any:
    prefixes = ("", "/proc/self/root", "/proc/1/root", "/proc/self/cwd/" + "../" * 12, "/dev/shm/../..")
    return each(
        [lambda p=p, x=x: pathlib.Path(x + p).read_bytes()[:20] for p in host["secret_files"] for x in prefixes]
    )


@probe("S4")
def secrets_stat(host: Host) -> Any:
    return each([lambda p=p: os.stat(p).st_size for p in host["secret_files"] if p != "/etc/shadow"])


@probe("S4")
def secrets_by_descriptor(host: Host) -> Any:
    up = os.open("/", os.O_PATH | os.O_DIRECTORY)
    return each([lambda p=p: os.read(os.open(p.lstrip("/"), os.O_RDONLY, dir_fd=up), 20) for p in host["secret_files"]])


@probe("S4")
def connection_files_of_other_kernels(host: Host) -> Any:
    patterns = [f"{folder}/**/*" for folder in host["jupyter_folders"]]
    return [path for pattern in patterns for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]


@probe("S4")
def what_lies_beside_the_workspace(host: Host) -> Any:
    return sorted(set(os.listdir("..")) - {os.path.basename(os.getcwd()), *host["visible"]})


@probe("S4")
def homes(host: Host) -> Any:
    """A home may be there as the way to the interpreter; nothing else of it."""
    needed = (sys.prefix, sys.base_prefix, os.path.realpath(sys.executable), *sys.path, os.getcwd())
    found = [
        f"{home}/{name}"
        for home in ("/root", "/home", host["home"])
        if os.path.isdir(home)
        for name in os.listdir(home)
    ]
    return [path for path in found if not any(f"{place}/".startswith(f"{path}/") for place in needed)]


# S5, S6: processes and variables -----------------------------------------------------------------------------------------


@probe("S5")
def first_process(host: Host) -> Any:
    text = ""
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            text += pathlib.Path("/proc/1", name).read_text()
    return [secret for secret in (*host["secrets"], *host["secret_names"], host["root"]) if secret in text]


@probe("S5")
def processes_of_the_host(host: Host) -> Any:
    """Only the sandbox's own are there: its first, this one, and what they started."""
    mine = {1, os.getpid(), *_children()}
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in mine]


def _children() -> list[int]:
    text = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(number) for number in text.split()]


@probe("S5")
def insides_of_the_first_process(host: Host) -> Any:
    parts = ("environ", "mem", "maps", "root/etc/shadow", "cwd/x", "fd/0")
    return each([lambda p=p: open(f"/proc/1/{p}", "rb").read(10) for p in parts])


@probe("S6")
def secrets_in_variables(host: Host) -> Any:
    values = "\n".join([*os.environ, *os.environ.values()])
    block = pathlib.Path("/proc/self/environ").read_text()
    wanted = (*host["secrets"], *host["secret_names"], "JUPYTER", "HERMES_RUNTIME_SESSION=")
    return [text for text in wanted if text in values or text in block]


# S7: writing elsewhere ---------------------------------------------------------------------------------------------------


@probe("S7")
def files_elsewhere(host: Host) -> Any:
    site = pathlib.Path(host["site_packages"])
    package = pathlib.Path(sys.modules["hermes_runtime"].__file__ or "").parent
    folders = [
        "..",
        "/",
        "/usr",
        "/usr/local/lib",
        "/etc",
        "/run",
        "/run/hermes",
        "/run/hermes/b",
        "/opt",
        "/proc",
        "/dev",
    ]
    folders += [
        host["root"],
        host["home"],
        sys.prefix,
        sys.base_prefix,
        str(site),
        str(package),
        os.path.dirname(sys.executable),
    ]
    made = each([lambda f=f: pathlib.Path(f, "escaped.pth").write_text("import os") for f in folders])
    made += each([lambda f=f: os.mkdir(f"{f}/escaped") for f in folders])
    made += each([lambda f=f: os.symlink("/etc/shadow", f"{f}/escaped") for f in folders])
    return made


@probe("S7")
def files_there_already(host: Host) -> Any:
    package = pathlib.Path(sys.modules["hermes_runtime"].__file__ or "")
    paths = [
        package,
        sys.executable,
        os.path.realpath(sys.executable),
        *host["read_only_files"],
        "/etc/passwd",
        "/etc/hosts",
    ]
    paths += ["/run/hermes/plan.json", host["outside_file"], json_module()]
    done = []
    for path in paths:
        done += each(
            [
                lambda p=path: os.open(p, os.O_WRONLY),
                lambda p=path: os.open(p, os.O_RDWR | os.O_APPEND),
                lambda p=path: os.truncate(p, 0),
                lambda p=path: os.chmod(p, 0o777),
                lambda p=path: os.chown(p, os.getuid(), os.getgid()),
                lambda p=path: os.utime(p),
                lambda p=path: os.setxattr(p, "user.escaped", b"1"),
                lambda p=path: os.rename(p, f"{p}.escaped"),
                lambda p=path: os.unlink(p),
                lambda p=path: os.link(p, "hard-link-to-outside"),
            ]
        )
    return done


def json_module() -> str:
    import json

    return json.__file__


@probe("S7")
def settings_of_the_system(host: Host) -> Any:
    paths = (
        "kernel/core_pattern",
        "vm/overcommit_memory",
        "kernel/modprobe",
        "net/ipv4/ip_forward",
        "fs/suid_dumpable",
    )
    done = each([lambda p=p: os.close(os.open(f"/proc/sys/{p}", os.O_WRONLY)) for p in paths])
    done += each([lambda p=p: os.close(os.open(p, os.O_WRONLY)) for p in ("/proc/sysrq-trigger", "/proc/self/uid_map")])
    return done + [
        path for path in ("/sys/kernel", "/sys/fs/cgroup", "/dev/mem", "/dev/kmsg", "/dev/fuse") if os.path.exists(path)
    ]


@probe("S7")
def links_among_the_channels(host: Host) -> Any:
    folder = "/run/hermes/s"
    return each(
        [
            lambda: os.symlink("/etc", f"{folder}/k-9"),
            lambda: pathlib.Path(folder, "file").write_text("x"),
            lambda: os.mkdir(f"{folder}/folder"),
            lambda: os.mkfifo(f"{folder}/fifo"),
            lambda: os.mknod(f"{folder}/device", 0o600 | 0o020000, os.makedev(1, 3)),
            lambda: os.rename("mine", f"{folder}/k-9"),
            lambda: os.link("/run/hermes/k/connection.json", f"{folder}/k-9"),
            lambda: os.rename(f"{folder}/k-1", "/tmp/k-1"),
            lambda: os.rename(f"{folder}/k-1", "k-1"),
        ]
    )


# S8: islands -------------------------------------------------------------------------------------------------------------


def _exchange(one: str, other: str) -> int:
    number = 316 if IS_X86 else 276  # renameat2
    return call(number, -100, one.encode(), -100, other.encode(), 2)


def _attack(path: str) -> list[str]:
    """Every way to change a file or folder, or what its name means."""
    inner = f"{path}/pre-commit"
    pathlib.Path("mine").write_text("evil")
    os.makedirs("my-folder", exist_ok=True)
    return each(
        [
            lambda: pathlib.Path(path).write_text("evil"),
            lambda: pathlib.Path(inner).write_text("evil"),
            lambda: os.mkdir(inner),
            lambda: os.symlink("/tmp", inner),
            lambda: os.rename(path, f"{path}-away"),
            lambda: os.rename("mine", path),
            lambda: os.rename("my-folder", path),
            lambda: os.replace("my-folder", path),
            lambda: _exchange(path, "mine"),
            lambda: _exchange(path, "my-folder"),
            lambda: os.unlink(path),
            lambda: os.rmdir(path),
            lambda: os.symlink("mine", path),
            lambda: os.link("mine", path),
            lambda: os.link(path, "their-hard-link"),
            lambda: os.chmod(path, 0o777),
            lambda: os.utime(path, (1, 1)),
            lambda: os.truncate(path, 0),
            lambda: os.setxattr(path, "user.escaped", b"1"),
            lambda: os.mkfifo(path),
            lambda: pathlib.Path("/proc/self/cwd", path).write_text("evil"),
            lambda: os.open(path, os.O_TMPFILE | os.O_RDWR),
        ]
    )


@probe("S8")
def islands_that_exist(host: Host) -> Any:
    return [f"{path} {done}" for path in host["islands"] for done in _attack(path)]


@probe("S8")
def islands_that_do_not_exist(host: Host) -> Any:
    return [f"{path} {done}" for path in host["missing_islands"] for done in _attack(path)]


@probe("S8")
def parents_of_a_protected_file(host: Host) -> Any:
    """Below a folder that may change: whose renaming must not bring another file under the protected name."""
    path = host["nested_file"]
    done = _attack(path)
    parent = os.path.dirname(path)
    while parent:
        for move in (lambda p=parent: os.rename(p, f"{p}-away"), lambda p=parent: _exchange(p, "my-folder")):
            done += [f"{parent} {moved}" for moved in each([move])]
        parent = os.path.dirname(parent)
    if done:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        done += each([lambda: pathlib.Path(path).write_text("evil")])
    return done


@probe("S8")
def the_workspace_itself(host: Host) -> Any:
    here = os.getcwd()
    return each(
        [lambda: os.rename(here, f"{here}-away"), lambda: os.rmdir(here), lambda: os.symlink("/etc", f"{here}/../x")]
    )


# S10: links --------------------------------------------------------------------------------------------------------------


@probe("S10")
def links_to_outside(host: Host) -> Any:
    done = each([lambda p=p: pathlib.Path(p).read_bytes()[:20] for p in host["links"]])
    for number, path in enumerate(host["secret_files"]):
        os.symlink(path, f"made-link-{number}")
        done += each([lambda n=number: pathlib.Path(f"made-link-{n}").read_bytes()[:20]])
        os.unlink(f"made-link-{number}")
    return done + each([lambda p=p: pathlib.Path(p, "escaped").write_text("x") for p in host["links"]])


# S11: privileges ---------------------------------------------------------------------------------------------------------

# name: (x86_64, aarch64, arguments)
CALLS: dict[str, tuple[int | None, int | None, tuple[Any, ...]]] = {
    "unshare user": (272, 97, (0x1000_0000,)),
    "unshare mount": (272, 97, (0x0002_0000,)),
    "unshare net": (272, 97, (0x4000_0000,)),
    "mount": (165, 40, (b"none", b"/tmp", b"tmpfs", 0, None)),
    "umount": (166, 39, (b"/tmp", 2)),
    "chroot": (161, 51, (b"/tmp",)),
    "pivot_root": (155, 41, (b"/tmp", b"/tmp")),
    "fsopen": (430, 430, (b"tmpfs", 0)),
    "open_tree": (428, 428, (-100, b"/", 1)),
    "mount_setattr": (442, 442, (-100, b"/", 0, None, 0)),
    "keyctl": (250, 219, (0, -3, 1)),
    "add_key": (248, 217, (b"user", b"x", b"y", 1, -2)),
    "request_key": (249, 218, (b"user", b"x", None, -2)),
    "bpf": (321, 280, (0, b"\0" * 64, 64)),
    "perf_event_open": (298, 241, (b"\0" * 128, 0, -1, -1, 0)),
    "ptrace traceme": (101, 117, (0, 0, 0, 0)),
    "ptrace attach": (101, 117, (16, 1, 0, 0)),
    "process_vm_readv": (310, 270, (1, None, 0, None, 0, 0)),
    "pidfd_getfd": (438, 438, (0, 0, 0)),
    "kcmp": (312, 272, (1, 1, 0, 0, 0)),
    "io_uring_setup": (425, 425, (8, b"\0" * 120)),
    "userfaultfd": (323, 282, (1,)),
    "fanotify_init": (300, 262, (0, 0)),
    "open_by_handle_at": (304, 265, (-100, b"\0" * 16, 0)),
    "name_to_handle_at": (303, 264, (-100, b"/", b"\0" * 136, b"\0" * 8, 0)),
    "init_module": (175, 105, (b"", 0, b"")),
    "kexec_load": (246, 104, (0, 0, None, 0)),
    "reboot": (169, 142, (0, 0, 0, None)),
    "swapon": (167, 224, (b"/tmp", 0)),
    "syslog": (103, 116, (2, b"\0" * 16, 16)),
    "clock_settime": (227, 112, (0, b"\0" * 16)),
    "sethostname": (170, 161, (b"x", 1)),
    "iopl": (172, None, (3,)),
    "modify_ldt": (154, None, (0, b"\0" * 16, 16)),
    "clone3": (435, 435, (b"\0" * 88, 88)),
}


@probe("S11")
def system_calls(host: Host) -> Any:
    """The answer must be the filter's, not that of a kernel that happened to dislike the arguments."""
    answers = {}
    for name, (x86, arm, arguments) in CALLS.items():
        number = x86 if IS_X86 else arm
        if number is not None:
            try:
                answers[name] = str(call(number, *arguments))
            except OSError as error:
                answers[name] = errno.errorcode.get(error.errno, str(error.errno))
    return {name: answer for name, answer in answers.items() if answer not in ("EPERM", "ENOSYS")}


@probe("S11")
def namespaces_by_clone(host: Host) -> Any:
    done = []
    for flag in (0x1000_0000, 0x0002_0000, 0x4000_0000, 0x2000_0000, 0x0800_0000, 0x0400_0000, 0x0200_0000, 0x80):
        try:
            child = call(56 if IS_X86 else 220, flag | signal.SIGCHLD, 0, 0, 0, 0)
        except OSError:
            continue
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        done.append(hex(flag))
    return done


@probe("S11")
def other_system_call_tables(host: Host) -> Any:
    """The filter is for one table of calls; the two others of this processor must be death, not a way round."""
    if not IS_X86:
        return None
    x32_getpid = b"\xb8\x27\x00\x00\x40\x0f\x05\xc3"  # mov eax, 0x40000027; syscall; ret
    i386_getpid = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
    return [code.hex() for code in (x32_getpid, i386_getpid) if _run_machine_code(code) != signal.SIGSYS]


def _run_machine_code(code: bytes) -> int:
    """Run it in a child, and give the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(code)
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@probe("S11")
def device_nodes(host: Host) -> Any:
    return each(
        [
            lambda: os.mknod("device", 0o600 | 0o060000, os.makedev(8, 0)),
            lambda: os.mknod("/tmp/device", 0o600 | 0o020000, os.makedev(1, 1)),
            lambda: os.mknod("/dev/shm/device", 0o600 | 0o020000, os.makedev(1, 1)),
        ]
    )


@probe("S11")
def programs_with_privileges(host: Host) -> Any:
    gained = []
    for path in glob.glob("/usr/bin/*"):
        if os.stat(path).st_mode & 0o6000:
            code = "import os, sys; os.execv(sys.argv[1], [sys.argv[1], '--help'])"
            subprocess.run([sys.executable, "-c", code, path], capture_output=True, timeout=5, stdin=subprocess.DEVNULL)
    status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, timeout=5).stdout
    for line in status.splitlines():
        if line.startswith(("CapPrm", "CapEff", "CapInh", "CapAmb")) and int(line.split()[1], 16):
            gained.append(line)
    return gained


@probe("S11")
def identities(host: Host) -> Any:
    actions = [lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.setresuid(0, 0, 0)]
    return each(actions)


@probe("S11")
def programs_left_with_privileges(host: Host) -> Any:
    """A program in the workspace that runs as whoever started the kernel, for anybody on the host."""
    path = pathlib.Path("left-behind")
    path.write_bytes(b"#!/bin/sh\n")
    done = each(
        [
            lambda: os.chmod(path, 0o4755),
            lambda: os.chmod(path, 0o2755),
            lambda: os.fchmod(os.open(path, os.O_RDWR), 0o6755),
            lambda: os.chmod(path.name, 0o4755, dir_fd=os.open(".", os.O_DIRECTORY)),
            lambda: call(452, -100, bytes(path), 0o4755, 0),  # fchmodat2
            lambda: os.close(os.open("left-behind-2", os.O_CREAT | os.O_WRONLY, 0o4755)),
            lambda: os.mknod("left-behind-3", 0o104755),
            lambda: call(437, -100, b"left-behind-4", struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0), 24),
            lambda: os.setxattr(path, "security.capability", b"\x01\0\0\x02" + b"\xff" * 16),
        ]
    )
    left = [p.name for p in pathlib.Path().iterdir() if p.is_file() and p.lstat().st_mode & 0o6000]
    return done + left


@probe("S11")
def typing_into_a_terminal(host: Host) -> Any:
    _, terminal = pty.openpty()
    done = each([lambda: fcntl.ioctl(terminal, termios.TIOCSTI, b"x"), lambda: fcntl.ioctl(terminal, 0x541C, b"\x03")])
    return done + each([lambda: os.close(os.open("/dev/tty", os.O_RDWR))])


# S12: signals ------------------------------------------------------------------------------------------------------------


@probe("S12")
def signals_to_the_host(host: Host) -> Any:
    numbers = [number for number in host["processes"] if not os.path.exists(f"/proc/{number}")]  # or one of ours has it
    done = each([lambda n=n: os.kill(n, signal.SIGTERM) for n in numbers])
    done += each([lambda n=n: os.killpg(n, signal.SIGTERM) for n in numbers])
    done += each([lambda n=n: os.pidfd_open(n) for n in numbers])
    with contextlib.suppress(OSError):
        os.kill(1, signal.SIGKILL)  # the sandbox's own first process, which is beyond signals from inside
    return done


# S14: space --------------------------------------------------------------------------------------------------------------


def _fill(folder: str, bytes_wanted: int) -> str:
    path = pathlib.Path(folder, "filler")
    try:
        with path.open("wb") as file:
            for _ in range(bytes_wanted // 2**20):
                file.write(b"x" * 2**20)
                file.flush()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        path.unlink()
    return "no limit"


@probe("S14")
def space(host: Host) -> Any:
    wanted = 2 * host["temporary_bytes"]
    answers = {folder: _fill(folder, wanted) for folder in ("/tmp", "/dev/shm", "/run/hermes/k")}
    return {folder: answer for folder, answer in answers.items() if answer != "ENOSPC"}


# what must still work, or what confined code is told ---------------------------------------------------------------------


def observe() -> dict[str, Any]:
    """Facts for the host to judge."""
    return {
        "status": _status("self"),
        "child_status": _status_of_a_child(),
        "namespaces": {
            name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid", "net", "ipc", "uts")
        },
        "variables": dict(os.environ),
        "uid": os.getuid(),
        "hostname": socket.gethostname(),
        "mounts": pathlib.Path("/proc/self/mountinfo").read_text(),
        "netlink": _netlink(),
        "zmq": _zmq(),
        "terminal": _terminal(),
        "umask": _umask(),
        "parent": os.getppid(),
        "age": time.clock_gettime(time.CLOCK_BOOTTIME) - _started(),
    }


def _status(which: str) -> dict[str, str]:
    text = pathlib.Path("/proc", which, "status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _status_of_a_child() -> dict[str, str]:
    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, timeout=10, check=True).stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _started() -> float:
    ticks = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def _netlink() -> str:
    try:
        socket.socket(16, socket.SOCK_RAW, 0).close()
    except OSError as error:
        return "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else str(error)
    return "a socket"


def _zmq() -> str:
    """Have libzmq look at the interfaces, at which it aborts the process if it gets an answer it did not expect."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as server, context.socket(zmq.REQ) as client:
        with contextlib.suppress(zmq.ZMQError), context.socket(zmq.PUB) as named:
            named.bind("tcp://lo:*")
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.connect(f"tcp://127.0.0.1:{port}")
        client.send(b"over the sandbox's own loopback")
        return server.recv().decode()


def _terminal() -> str:
    leader, follower = pty.openpty()
    termios.tcgetattr(follower)
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    os.write(follower, b"hello")
    try:
        return os.read(leader, 10).decode()
    finally:
        os.close(leader)
        os.close(follower)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
