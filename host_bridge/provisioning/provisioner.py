"""What jupyter_client calls to start and end a kernel: the door every Jupyter application comes through.

    pre_launch     run directory, channels on private sockets, session process started, ticket written
    launch_kernel  kernel process started; then the session has to be ready
    cleanup        on a restart the session stays, with its budgets and grants; at the end everything goes

The session process starts while the kernel does, so it costs no waiting. Whatever fails, nothing is left behind:
jupyter_client calls `cleanup` for a kernel that ran, never for one that did not get so far, and sometimes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import CaselessStrEnum, Unicode

from host_bridge.config import load_config
from host_bridge.errors import ConfigurationError, SessionError
from host_bridge.provisioning.callbacks import one_at_a_time
from host_bridge.provisioning.kernel_session import KernelSession, kernel_site
from host_bridge.provisioning.lifeline import Lifeline
from host_bridge.provisioning.options import LaunchOptions, Prompter
from host_bridge.provisioning.sandboxed import kernel_process
from host_bridge.provisioning.session import BridgeSession
from host_bridge.provisioning.starting import Start, in_lasting_thread
from host_bridge.provisioning.sweep import sweep

NAME = "hermes-provisioner"
"""As kernel specs and the entry point name it."""

KILL_SECONDS = 5.0  # for a kernel whose start failed
_CHANNELS = ("shell", "iopub", "stdin", "hb", "control")
_FROM_JUPYTER = frozenset({"kernel_id", "kernel_spec", "parent"})
_FROM_KERNELSPEC = frozenset({"profile", "channels"})

Result = TypeVar("Result")


class HermesProvisioner(LocalProvisioner):
    """Starts a kernel together with its bridge session.

    `start_kernel(hermes=LaunchOptions(...))` says more about a kernel; `session` is then its `BridgeSession`.

    A kernel spec's `metadata.kernel_provisioner.config` may hold `profile`, which can only narrow, and `channels`.
    """

    channels = CaselessStrEnum(
        ["ipc", "tcp"],
        "ipc",
        config=True,
        help="How clients reach the kernel: sockets in a private folder, or encrypted TCP on the loopback interface for "
        "clients that can't open files.",
    )
    prompt = CaselessStrEnum(
        ["none", "terminal"],
        "none",
        config=True,
        help="Who is asked when a rule says `ask` and the application brings no prompter of its own. `terminal` is for "
        "applications that a person watches; a server has nobody to ask, and a question there is a no.",
    )
    profile = Unicode("", help="A narrower policy profile; from the kernel spec only.")

    _kernel: KernelSession | None = None
    _lifeline: Lifeline | None = None
    _start: Start | None = None
    _on_spawned: Callable[[], None] | None = None
    _sandbox: int | None = None

    def __init__(self, **kwargs: Any) -> None:
        # A kernel spec can come with a download, so what it may set is a list, not whatever happens to be a trait.
        for name in kwargs.keys() - _FROM_JUPYTER - _FROM_KERNELSPEC:
            raise ConfigurationError(
                f"a kernel spec may not set {name!r}; it may set: {', '.join(sorted(_FROM_KERNELSPEC))}",
                key=f"metadata.kernel_provisioner.config.{name}",
            )
        super().__init__(**kwargs)

    @property
    def session(self) -> BridgeSession | None:
        """The kernel's session, from its start until its end."""
        return self._kernel.session if self._kernel else None

    @property
    def memory_kills(self) -> int:
        """How many of the kernel's processes the system has killed because the kernel's memory limit was reached."""
        return self._kernel.limiter.count_memory_kills() if self._kernel else 0

    # jupyter_client calls these, in this order ---------------------------------------------------------------------------

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Prepare everything but the kernel process.

        Args:
            **kwargs: As jupyter_client gives them; `hermes` is a `LaunchOptions`.

        Raises:
            HostBridgeError: The configuration can't be used, or the session process can't be started.
        """
        options = kwargs.pop("hermes", None) or LaunchOptions()
        if not isinstance(options, LaunchOptions):
            raise TypeError(f"hermes= takes LaunchOptions, got {type(options).__name__}")
        if self.parent is None:
            raise SessionError(f"{NAME} needs a kernel manager; start the kernel through jupyter_client")
        try:
            return await self._prepare(options, kwargs)
        except BaseException:
            await self._abandon()
            raise

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel process and see the session ready.

        Raises:
            HostBridgeError: The session was refused or did not become ready; the kernel is gone again.
        """
        try:
            info = await self._launch(cmd, kwargs)
            await self._settle_in()
        except BaseException:
            await self._abandon()
            raise
        return info

    async def cleanup(self, restart: bool = False) -> None:
        """Release what the kernel had; unless it restarts, end its session too."""
        await super().cleanup(restart)
        self._cut_lifeline()
        self._sandbox = None
        if not restart:
            await self._release()
        elif self._kernel is not None:
            await _off_loop(self._kernel.end_kernel)

    # starting ------------------------------------------------------------------------------------------------------------

    async def _prepare(self, options: LaunchOptions, kwargs: dict[str, Any]) -> dict[str, Any]:
        kwargs.pop("independent", None)  # outliving the host is what our kernels never do
        manager: Any = self.parent
        self._on_spawned = options.on_spawned
        is_first = self._kernel is None
        if self._kernel is None:
            site = kernel_site(kwargs, self.profile)
            self._kernel = await _off_loop(
                lambda: KernelSession(load_config(), options, site, options.prompter or self._own_prompter())
            )
            self._place_channels(manager, self._kernel.run.channels)
        kernel = self._kernel
        await _off_loop(lambda: kernel.open(os.environ))
        if is_first:
            # While the session starts, and before anybody looks what lies in the workspace: a crash leaves covers there.
            await _off_loop(sweep)
        kernel.admit_kernel()
        prepared: dict[str, Any] = await super().pre_launch(**kwargs)
        kernel.record_connection_file(manager.connection_file)
        return await self._started_command(prepared, kernel)

    def _place_channels(self, manager: Any, prefix: str) -> None:
        """Have Jupyter's own channels where nobody else can reach or read them."""
        if self.channels == "tcp":
            if hasattr(manager, "transport_encryption"):
                manager.transport_encryption = "auto"
            return
        manager.cache_ports = False  # or the cache of TCP ports fills them in
        manager.transport = "ipc"  # before `ip`, whose default depends on it
        manager.ip = prefix
        for channel in _CHANNELS:
            setattr(manager, f"{channel}_port", 0)

    def _own_prompter(self) -> Prompter | None:
        if self.prompt != "terminal":
            return None
        from host_bridge.policy.prompter import terminal_prompter

        return one_at_a_time(terminal_prompter)

    async def _started_command(self, prepared: dict[str, Any], kernel: KernelSession) -> dict[str, Any]:
        """Replace a kernel's command by the one that starts it confined."""
        connection_file: str = self.parent.connection_file  # type: ignore[union-attr]
        launch = await _off_loop(lambda: kernel.launch(prepared, connection_file))
        if kernel.confinement.backend == "none":
            self._lifeline = Lifeline()
            descriptors = (*prepared.get("pass_fds", ()), self._lifeline.descriptor)
            return {**prepared, "cmd": list(launch.argv), "env": dict(launch.environment), "pass_fds": descriptors}
        self._start = Start(launch)
        keywords = self._start.keywords
        if not launch.reports:  # no sandbox's first process, with whose end everything in it ends
            self._lifeline = Lifeline()
            keywords = {**keywords, "pass_fds": (*keywords["pass_fds"], self._lifeline.descriptor)}
        return {**prepared, "cmd": self._start.argv, **keywords}

    async def _launch(self, cmd: list[str], kwargs: dict[str, Any]) -> KernelConnectionInfo:
        start, self._start = self._start, None
        if start is None:
            info = await super().launch_kernel(cmd, **kwargs)
            self._tell_spawned()
            return info
        plainly = super().launch_kernel
        try:
            info = await in_lasting_thread(lambda: plainly(cmd, **kwargs))
        except BaseException:
            start.failed()
            raise
        self._tell_spawned()
        start.started()
        self._sandbox = await _off_loop(start.read_report)
        return info

    def _tell_spawned(self) -> None:
        if self._on_spawned is not None:
            self._on_spawned()

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel. A sandbox's own processes must not get what is meant for what runs in it."""
        if self._sandbox is None or signum in (signal.SIGKILL, signal.SIGTERM):
            await super().send_signal(signum)
            return
        pid = kernel_process(self._sandbox)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signum) if os.getpgid(pid) == pid else os.kill(pid, signum)

    async def _settle_in(self) -> None:
        """Bind the new kernel process to this one, and see its session ready."""
        kernel = self._kernel
        assert kernel is not None
        if self.pgid and self._lifeline:
            self._lifeline.attach(self.pgid)
        if self.pid:
            kernel.record_kernel(self.pid)
        await _off_loop(kernel.wait_ready)

    # ending --------------------------------------------------------------------------------------------------------------

    async def _abandon(self) -> None:
        """Undo a start that failed. jupyter_client does nothing about it."""
        if self.process is not None:
            await self.kill()
            try:
                await asyncio.wait_for(self.wait(), KILL_SECONDS)
            except TimeoutError:
                self.log.warning("the kernel process %s can't be killed", self.pid)
        self._cut_lifeline()
        if self._start is not None:
            self._start.failed()
            self._start = None
        if self.parent is not None:
            self.parent.cleanup_connection_file()
        await self._release()

    def _cut_lifeline(self) -> None:
        if self._lifeline is not None:
            self._lifeline.cut()
            self._lifeline = None

    async def _release(self) -> None:
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            await _off_loop(kernel.close)


async def _off_loop(function: Callable[[], Result]) -> Result:
    """Run what may block without holding up the application's event loop."""
    try:
        running = asyncio.get_running_loop().run_in_executor(None, function)
    except RuntimeError:
        # While the interpreter exits no thread can be started any more; nor does anybody need this loop meanwhile.
        return function()
    return await running
