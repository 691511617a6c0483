"""A real kernel process of this product, driven through jupyter_client as any Jupyter application drives one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from hermes_protocol.confinement import CONFINEMENT_VARIABLE

WAIT_SECONDS = 30.0


@dataclasses.dataclass
class Ran:
    """How a cell ended, and what it put out: the content of its reply and of its iopub messages."""

    reply: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]]

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def error(self) -> str:
        return f"{self.reply.get('ename')}: {self.reply.get('evalue')}"

    def stream(self, name: str) -> str:
        return "".join(
            content["text"] for kind, content in self.messages if kind == "stream" and content["name"] == name
        )

    @property
    def stdout(self) -> str:
        return self.stream("stdout")

    @property
    def stderr(self) -> str:
        return self.stream("stderr")

    @property
    def result(self) -> str:
        """The last expression's value, as plain text."""
        results = [content["data"]["text/plain"] for kind, content in self.messages if kind == "execute_result"]
        return results[-1] if results else ""

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.messages if kind not in ("status", "execute_input")]

    def cell(self, source: str = "") -> Any:
        """Give it as a cell of a notebook."""
        outputs = [
            nbformat.v4.output_from_msg({"header": {"msg_type": kind}, "content": content})
            for kind, content in self.messages
            if kind in ("stream", "display_data", "execute_result", "error")
        ]
        return nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1)


class KernelProcess:
    """One kernel, started with private folders for everything Jupyter and IPython write.

    Args:
        folder: A private folder.
        arguments: Further command line arguments.
        environment: Further variables.
        module: What to start with `python -m`.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        module: str = "hermes_runtime.kernel",
    ) -> None:
        self.log = folder / "kernel.log"
        self.manager = KernelManager(connection_file=str(folder / "connection.json"))
        argv = [sys.executable, "-m", module, "-f", "{connection_file}", *arguments]
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name="Hermes", language="python")
        variables = {
            name: value for name, value in os.environ.items() if not name.startswith(("JPY_", "HERMES_", "PYDEVD"))
        }
        variables |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder)}
        variables |= {CONFINEMENT_VARIABLE: "none"}  # or it would confine itself, having nobody who did
        self._log = self.log.open("wb")  # open until the end: a restart uses it again
        self.manager.start_kernel(env={**variables, **(environment or {})}, stderr=self._log, cwd=str(folder))
        self.process: subprocess.Popen[bytes] = self.manager.provisioner.process  # type: ignore[union-attr, attr-defined]
        self.client = self.manager.blocking_client()
        self.client.start_channels()

    def __enter__(self) -> Self:
        self.client.wait_for_ready(timeout=WAIT_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.stop_channels()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_SECONDS)
        self.manager.cleanup_resources()
        self._log.close()

    def run(self, code: str, **options: Any) -> Ran:
        """Run a cell to its end."""
        return self.wait(self.start(code, **options))

    def start(self, code: str, **options: Any) -> str:
        """Begin a cell."""
        return str(self.client.execute(code, stop_on_error=False, **options))

    def wait(self, message_id: str) -> Ran:
        """Wait for the end of a cell."""
        reply = self.client._recv_reply(message_id, timeout=WAIT_SECONDS)
        messages: list[tuple[str, dict[str, Any]]] = []
        deadline = time.monotonic() + WAIT_SECONDS
        while messages[-1:] != [("status", {"execution_state": "idle"})]:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") == message_id:
                messages.append((message["msg_type"], message["content"]))
        return Ran(reply["content"], messages)

    def wait_for_output(self, message_id: str, text: str) -> None:
        """Wait until a running cell has printed something."""
        printed = ""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in printed:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if message["parent_header"].get("msg_id") == message_id and message["msg_type"] == "stream":
                printed += message["content"]["text"]

    def interrupt(self) -> None:
        """Interrupt it as a local Jupyter application does."""
        self.process.send_signal(signal.SIGINT)

    def shut_down(self) -> float:
        """Ask it to end; gives the seconds until the process was gone."""
        began = time.monotonic()
        self.client.shutdown()
        self.process.wait(WAIT_SECONDS)
        return time.monotonic() - began

    def complete(self, code: str) -> list[str]:
        """Give what completion offers at the end of the code."""
        reply = self.client._recv_reply(self.client.complete(code), timeout=WAIT_SECONDS)
        return [str(match) for match in reply["content"]["matches"]]

    def inspect(self, code: str) -> str:
        """Give what help shows."""
        reply = self.client._recv_reply(self.client.inspect(code, len(code)), timeout=WAIT_SECONDS)
        return str(reply["content"]["data"].get("text/plain", ""))
