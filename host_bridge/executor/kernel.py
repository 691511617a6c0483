"""One kernel process: started, watched, interrupted, ended. No fixed waits: its exit is an event, not something to look for."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import select
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from host_bridge.errors import KernelStartError
from host_bridge.executor.own_loop import OwnLoop

if TYPE_CHECKING:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import KernelManager

    from host_bridge.provisioning.options import LaunchOptions
    from host_bridge.provisioning.session import BridgeSession

OUR_PROVISIONER = "hermes-provisioner"

RECONNECT_MILLISECONDS = 10
"""How often ZeroMQ tries a socket that the kernel has not bound yet. Its own 100 ms would be a tenth of a kernel's start."""

QUEUED_MESSAGES = 100_000
"""How many outputs may wait while one is worked on; at ZeroMQ's own 1,000 a chatty cell's outputs are lost."""

EXIT_SECONDS = 2.5  # what jupyter_client gives a kernel to end before it gets SIGTERM

_quiet = logging.getLogger("host_bridge.executor.jupyter")
_quiet.setLevel(logging.CRITICAL)  # what fails here is raised; a traceback in the log besides helps nobody


def is_ours(spec: KernelSpec) -> bool:
    """Whether a kernel spec starts kernels that have a bridge session."""
    provisioner = spec.metadata.get("kernel_provisioner")
    return isinstance(provisioner, dict) and provisioner.get("provisioner_name") == OUR_PROVISIONER


def find_kernel(name: str) -> KernelSpec:
    """Look a kernel up by name.

    Raises:
        KernelStartError: It isn't installed.
    """
    spec, _ = _look_up(name)
    return spec


def _look_up(name: str) -> tuple[KernelSpec, KernelSpecManager]:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_core.paths import jupyter_path

    # Left to itself it imports all of IPython, to look into one more folder that hardly anybody has.
    quick = KernelSpecManager(log=_quiet, kernel_dirs=jupyter_path("kernels"))
    with contextlib.suppress(NoSuchKernel):
        return quick.get_kernel_spec(name), quick
    specs = KernelSpecManager(log=_quiet)
    try:
        return specs.get_kernel_spec(name), specs
    except NoSuchKernel:
        raise KernelStartError(_not_installed(name, sorted(specs.find_kernel_specs()))) from None


def _not_installed(name: str, installed: list[str]) -> str:
    close = difflib.get_close_matches(name, installed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(installed) or "none"
    return f"there is no kernel {name!r} (installed: {listed}); {hint}`hermes-runtime kernel install` installs ours"


class RunningKernel:
    """A kernel process and the sockets to it.

    Args:
        manager: Has started the kernel.
        loop: In which the manager works.

    Attributes:
        exit_descriptor: Readable once the process is gone; None where the system can't say.
        session: The bridge session; None for a kernel that is not ours. It can be asked about its calls after the end too.
    """

    def __init__(self, manager: KernelManager, loop: OwnLoop) -> None:
        self._manager = manager
        self._loop = loop
        self._is_closed = False
        self.exit_descriptor = _open_exit_descriptor(_process_id(manager))
        self.session: BridgeSession | None = getattr(manager.provisioner, "session", None)
        self.client = _connect(manager)

    @classmethod
    def start(
        cls,
        name: str,
        *,
        cwd: str | None = None,
        launch: LaunchOptions | None = None,
        manager_class: Any = None,
        extra_arguments: Sequence[str] = (),
        **settings: Any,
    ) -> RunningKernel:
        """Start a kernel; doesn't wait until it answers.

        Args:
            name: Of an installed kernel spec.
            cwd: The kernel's working directory; this process's when None.
            launch: What the host says about it; a kernel that is not ours ignores it.
            manager_class: The kernel manager to use in place of jupyter_client's.
            extra_arguments: For the kernel's command line.
            settings: For the kernel manager.

        Raises:
            KernelStartError: It isn't installed, or its process could not be started.
            HostBridgeError: Its bridge session could not be opened.
        """
        from jupyter_client.manager import AsyncKernelManager

        arguments = list(extra_arguments)
        options: dict[str, Any] = {"cwd": cwd} if cwd else {}
        spec, specs = _look_up(name)
        if is_ours(spec):
            options["hermes"] = launch
        elif not any(argument.startswith("--HistoryManager") for argument in arguments):
            arguments += _history_in_memory(name)
        loop = OwnLoop()
        manager = (manager_class or AsyncKernelManager)(
            kernel_name=name, kernel_spec_manager=specs, log=_quiet, **settings
        )
        try:
            loop.wait_for(manager.start_kernel, extra_arguments=arguments, **options)
            return cls(manager, loop)
        except BaseException as error:
            _abandon(manager, loop)
            if isinstance(error, OSError):
                raise KernelStartError(
                    f"the kernel {name!r} could not be started: {error}; see `hermes-runtime doctor`"
                ) from error
            raise

    @property
    def name(self) -> str:
        """The kernel spec's name."""
        return str(self._manager.kernel_name)

    def is_alive(self) -> bool:
        """Whether the process is there."""
        if self.exit_descriptor is not None:
            return not select.select([self.exit_descriptor], [], [], 0)[0]
        return bool(self._loop.wait_for(self._manager.is_alive))

    def describe_end(self) -> str:
        """Say how the process ended, as far as is known."""
        process = getattr(self._manager.provisioner, "process", None)
        code = process.poll() if process is not None else None
        if code is None:
            return "it is gone"
        # A process that starts the kernel inside a sandbox passes its end on as shells do: 128 and the signal's number.
        number = -code if code < 0 else code - 128
        if number == signal.SIGKILL and getattr(self._manager.provisioner, "memory_kills", 0):
            limits = self.session.config.kernel_limits if self.session and self.session.config else ""
            return f"killed by the system because its memory was full ({limits}); raise memory_bytes under [limits]"
        if number == signal.SIGKILL:
            return "killed by SIGKILL, as by the system when memory runs out"
        if number > 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(number).name}"
        return f"it exited with code {code}"

    def interrupt(self) -> None:
        """Interrupt what runs. A kernel that is gone by now is no error."""
        with contextlib.suppress(RuntimeError, ProcessLookupError):
            self._loop.wait_for(self._manager.interrupt_kernel)

    def kill(self) -> None:
        """Kill the process and all of its group."""
        if self._manager.provisioner is not None:
            self._loop.wait_for(self._manager.provisioner.kill)

    def request_shutdown(self) -> None:
        """Ask the kernel to end; doesn't wait for it."""
        if self.is_alive():
            self._loop.wait_for(self._manager.request_shutdown)

    def end(self) -> None:
        """Make an end of a kernel, unless it has ended in order already."""
        if not self._is_closed:
            self.kill()
            self.close()

    def close(self) -> None:
        """Wait a bounded time for the end, make sure of it, and give everything back."""
        self._is_closed = True
        self._wait_for_exit()
        try:
            self._kill_leftovers()
            self._loop.wait_for(self._manager.finish_shutdown, waittime=EXIT_SECONDS)
        finally:
            _abandon(self._manager, self._loop)
            self._close_client()
            if self.exit_descriptor is not None:
                os.close(self.exit_descriptor)
                self.exit_descriptor = None

    def _close_client(self) -> None:
        for channel in (self.client.shell_channel, self.client.iopub_channel, self.client.control_channel):
            channel.stop()
        self.client.context.destroy(linger=0)  # nobody waits for anything any more

    def _wait_for_exit(self) -> None:
        if self.exit_descriptor is not None:
            select.select([self.exit_descriptor], [], [], EXIT_SECONDS)

    def _kill_leftovers(self) -> None:
        """Kill what the kernel's cells left running in its process group.

        The kernel's own process has ended but is not reaped yet, so its group's number can't belong to anybody else.
        """
        process = getattr(self._manager.provisioner, "process", None)
        group = getattr(self._manager.provisioner, "pgid", None)
        if process is not None and process.returncode is None and group == process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _history_in_memory(name: str) -> list[str]:
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME

    return ["--HistoryManager.hist_file=:memory:"] if name in (NATIVE_KERNEL_NAME, "python") else []


def _process_id(manager: KernelManager) -> int | None:
    process = getattr(manager.provisioner, "process", None)
    return getattr(process, "pid", None)


def _open_exit_descriptor(process: int | None) -> int | None:
    if process is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(process)
    except OSError:  # an old kernel of the operating system, or one that forbids it
        return None


def _connect(manager: KernelManager) -> BlockingKernelClient:
    from jupyter_client.blocking.client import BlockingKernelClient

    information: dict[str, Any] = {**manager.get_connection_info(session=True)}
    for key in ("curve_publickey", "curve_secretkey"):
        if isinstance(information.get(key), str):
            information[key] = information[key].encode("ascii")
    client = BlockingKernelClient(parent=manager, connection_file=manager.connection_file, log=_quiet, **information)
    client.context.reconnect_ivl = RECONNECT_MILLISECONDS
    client.context.rcvhwm = QUEUED_MESSAGES
    client.start_channels(hb=False, stdin=False)
    client.allow_stdin = False
    return client


def _abandon(manager: KernelManager, loop: OwnLoop) -> None:
    """Let a manager remove its files and sockets, whatever state it is in."""
    with contextlib.suppress(RuntimeError):
        loop.wait_for(manager.cleanup_resources)
    if manager.ready.done() and not manager.ready.cancelled():
        manager.ready.exception()  # seen; asyncio would log it as never retrieved
    loop.close()
