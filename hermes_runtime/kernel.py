"""The kernel: `python -m hermes_runtime.kernel -f {connection_file}`.

ipykernel, with what a notebook of this product needs and without what was measured to go wrong in it:

- `hermes` is there in every notebook, next to the magics `%hermes` and `%%terminal`;
- the session's ticket is read before the first cell and can't be found in the process afterwards;
- history stays in memory: a notebook run is no place to write what somebody typed to a database in their home;
- an execution request is answered whatever moment an interrupt picks, and a top-level `await` is interrupted at once;
- a process that a cell forks ends where the cell's code ends, instead of going on as a second kernel;
- the debugger is imported by the first who debugs;
- a graceful shutdown doesn't wait for a thread that has nothing left to say;
- it is confined, by whoever started it or by itself, or it doesn't start: see `confinement.oneself`.
"""

# mypy: disable-error-code="no-untyped-call"
# ipykernel and IPython are annotated here and there only.

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Before the imports below: they take half a second, and confining oneself means to start once more.
    from hermes_runtime.confinement.oneself import ensure_confined

    ensure_confined(sys.argv[1:])

import functools
import gc
import pathlib
import platform
import signal
import subprocess
import threading
import warnings
from types import FrameType
from typing import Any, cast

import IPython
from ipykernel._version import __version__ as ipykernel_version
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.profiledir import ProfileDir
from jupyter_client.session import Session
from traitlets import DottedObjectName, Type
from traitlets.config import Config

import hermes_runtime
from hermes_protocol.ticket import TICKET_FILE_VARIABLE, TICKET_VARIABLE
from hermes_runtime import (
    _client,
    _environment_block,
    _explanations,
    _forked,
    _late_debugger,
    _magics,
    _output_limits,
    _settings,
    _shell_commands,
)
from hermes_runtime._interrupts import SignalWakeup

_JOIN_SECONDS = 5.0
"""How long a shutdown waits for the control thread: as long as jupyter_client waits before it kills the process."""


class HermesShell(ZMQInteractiveShell):
    """The shell that runs the cells."""

    displayhook_class = Type(_output_limits.LimitedDisplayHook)
    display_pub_class = Type(_output_limits.LimitedPublisher)

    def init_user_ns(self) -> None:
        """Fill a new or reset namespace; `hermes` counts as part of the house, so `%who` doesn't list it."""
        super().init_user_ns()
        self.push({"hermes": hermes_runtime}, interactive=False)

    def init_magics(self) -> None:
        """Register the magics."""
        super().init_magics()
        _magics.load_ipython_extension(self)
        if not _shell_commands.has_terminals():
            for name in ("system", "system_piped"):
                setattr(self, name, self._system_by_pipe)

    def _system_by_pipe(self, cmd: str) -> None:
        """Run `!command` without a terminal."""
        if cmd.rstrip().endswith("&"):
            raise OSError("a command can't be left running in the background; use subprocess.Popen or hermes.process")
        code = _shell_commands.run(self.var_expand(cmd, depth=1))  # with the names of the code that called
        self.user_ns["_exit_code"] = code
        if code and self.system_raise_on_error:
            raise subprocess.CalledProcessError(code, cmd)

    async def run_ast_nodes(self, *args: Any, **options: Any) -> bool:
        """Run a cell's statements, which a process that they fork doesn't go beyond."""
        failed: bool = await super().run_ast_nodes(*args, **options)
        _forked.end_if_child(getattr(options.get("result"), "error_in_exec", None))
        return failed

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        # Where IPython takes up an error to show it, prepared for an interrupt.
        found = super()._get_exc_info(exc_tuple)
        _explanations.explain(found[1])
        return found

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        """Send an error, as far as anybody reads."""
        if _forked.is_child():  # its error is not the cell's
            if etype is not SystemExit:
                print("\n".join(stb), file=sys.stderr)
            return
        super()._showtraceback(etype, _output_limits.shorten(str(evalue)), _output_limits.shorten_lines(stb))


class HermesKernel(IPythonKernel):
    """ipykernel's kernel, answering every request once and waking up for every interrupt."""

    shell_class = Type(HermesShell)
    implementation = "hermes"
    _wakeup: SignalWakeup | None = None
    _is_interrupted = False

    @property
    def implementation_version(self) -> str:  # type: ignore[override]
        """The version of this distribution."""
        return _version()

    @property
    def banner(self) -> str:  # type: ignore[override]
        """What a console shows first."""
        return (
            f"Hermes runtime {_version()} (Python {platform.python_version()}, IPython {IPython.__version__}, "
            f"ipykernel {ipykernel_version})\n"
            "Tools are in `hermes`: hermes.tools() lists them, %hermes status says which session this is.\n"
        )

    def start(self) -> None:
        """Start serving requests."""
        super().start()
        if _is_main_thread():
            loop = cast(Any, self.io_loop).asyncio_loop
            self._wakeup = SignalWakeup(loop)
            self._wakeup.arm()
            _forked.watch(loop)

    # Interrupts. ipykernel lets SIGINT raise KeyboardInterrupt from the beginning of a request's handling to its end, and
    # where that hits the kernel's own code instead of the cell's, it logs the fact and never answers, so that the client
    # waits for ever. Here it raises while the cell's code runs; before, it is noted; afterwards there is nothing to interrupt.

    def pre_handler_hook(self) -> None:
        """Before each request: note interrupts, and have them wake the loop even if a cell took that away."""
        if not _is_main_thread():
            super().pre_handler_hook()
            return
        if self._wakeup is not None:
            self._wakeup.arm()
        self._is_interrupted = False
        self.saved_sigint_handler = signal.signal(signal.SIGINT, self._note_interrupt)

    def _note_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True

    async def execute_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """Execute a cell."""
        try:
            await super().execute_request(stream, ident, parent)
        except KeyboardInterrupt:  # between the end of its code and the line that ignores interrupts from there on
            _ignore_interrupts()
            assert self.session is not None
            self.session.send(stream, "execute_reply", self._interrupted_reply(), parent, ident=ident)

    async def do_execute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run a cell's code."""
        try:
            _allow_interrupts()
            if self._is_interrupted:
                raise KeyboardInterrupt
            _output_limits.account.begin_cell()
            reply: dict[str, Any] = await super().do_execute(*args, **kwargs)
            _ignore_interrupts()
        except KeyboardInterrupt:
            _ignore_interrupts()
            reply = self._interrupted_reply()
        assert self.shell is not None
        cast(_output_limits.LimitedPublisher, self.shell.display_pub).publish_note()
        if reply.get("status") == "error":
            reply["evalue"] = _output_limits.shorten(str(reply.get("evalue", "")))
        return reply

    def do_complete(self, *args: Any, **kwargs: Any) -> Any:
        """Complete code, which may take long and can be interrupted."""
        _allow_interrupts()
        return super().do_complete(*args, **kwargs)

    def do_inspect(self, *args: Any, **kwargs: Any) -> Any:
        """Give help, which may take long and can be interrupted."""
        _allow_interrupts()
        return super().do_inspect(*args, **kwargs)

    def _process_children(self) -> list[Any]:
        try:
            children: list[Any] = super()._process_children()
            return children
        except PermissionError:  # the confinement doesn't let /proc be listed; the host ends what is left
            return []

    def _interrupted_reply(self) -> dict[str, Any]:
        error = {"ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt: "]}
        self.send_response(self.iopub_socket, "error", error, ident=self._topic("error"))
        return {
            "status": "error",
            **error,
            "execution_count": self.execution_count,
            "user_expressions": {},
            "payload": [],
        }


@functools.cache
def _version() -> str:
    """Give the distribution's version by the name of its metadata folder; importlib.metadata takes 5 ms to load."""
    for folder in sys.path:
        for path in pathlib.Path(folder).glob("hermes_runtime-*.dist-info"):
            return path.name.removeprefix("hermes_runtime-").removesuffix(".dist-info")
    return "0"  # the packages were put on the path without their distribution


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()  # of all threads the only one that gets signals


def _allow_interrupts() -> None:
    if _is_main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _ignore_interrupts() -> None:
    # The hook after each request puts back what was in force before it.
    if _is_main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class HermesKernelApp(IPKernelApp):
    """Starts the kernel that a notebook of this product runs in.

    Takes ipykernel's options and reads its configuration files, so what configures `python3` kernels configures this one.
    """

    name = "hermes-kernel"
    description = __doc__
    subcommands = {}  # noqa: RUF012 - ipykernel's own would install a kernel spec that starts something else
    config_file_name = "ipython_kernel_config"
    outstream_class = DottedObjectName("hermes_runtime._output_limits.LimitedStream").tag(config=True)
    classes = [HermesKernel, HermesShell, ProfileDir, Session]  # noqa: RUF012 - as traitlets declares it
    kernel_class = Type(HermesKernel, klass="ipykernel.kernelbase.Kernel").tag(config=True)  # type: ignore[assignment]

    def init_connection_file(self) -> None:
        """Read what this process was handed: the connection file, and the ticket of its bridge session."""
        try:
            _settings.load()  # finds nothing any more if the import of the package has read it
            _client.current().listen()
        except (ValueError, hermes_runtime.BridgeUnavailableError) as error:
            # The kernel is of use without tools, and a call of one says again what is wrong.
            self.log.error("No tool can be called: %s", error)
        _environment_block.wipe([TICKET_FILE_VARIABLE])  # tidiness: a path of a file that is gone
        if not _environment_block.wipe([TICKET_VARIABLE]):
            self.log.warning("The ticket's variable stays visible in /proc: this system doesn't let it be wiped")
        # Without internet sockets the output of forked processes has no way here, which the host can't change.
        warnings.filterwarnings("ignore", message="Couldn't bind IOPub Pipe")
        super().init_connection_file()

    def init_kernel(self) -> None:
        """Create the kernel, with defaults that a configuration file or an option overrides."""
        sections = ("HistoryAccessorBase", "HistoryAccessor", "HistoryManager")
        if not any("hist_file" in self.config.get(section, {}) for section in sections):
            # A default by option would make ipykernel refuse the user's own: it takes each option once.
            self.update_config(Config({"HistoryManager": {"hist_file": ":memory:"}}))
        # In a notebook the advice is wrong: `exit` ends the kernel under the cells that follow.
        warnings.filterwarnings("ignore", message="To exit: use 'exit'")
        _late_debugger.install()
        super().init_kernel()

    def start(self) -> None:
        """Serve until the kernel is told to stop."""
        gc.freeze()  # what was imported lives as long as the process: neither cells nor its end need to look through it
        super().start()
        self._join_control_thread()

    def _join_control_thread(self) -> None:
        """Let the control thread finish while the thread that publishes its last words is still there.

        Left to the exit handlers, which stop the publishing thread first, it waits for that thread's acknowledgement in
        one shutdown of ten, and the process hangs until somebody kills it.
        """
        thread = self.control_thread
        if thread is not None and thread.is_alive():
            thread.stop()
            thread.join(_JOIN_SECONDS)


def main() -> None:
    """Run the kernel application; what `python -m hermes_runtime.kernel` does."""
    HermesKernelApp.launch_instance()


if __name__ == "__main__":
    main()
