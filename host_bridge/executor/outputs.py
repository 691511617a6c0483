"""Putting what a kernel sends into the cells it belongs to: nbclient's handling, within limits and without trust.

message -> its cell (by the request it answers, so late output finds its own cell)
  stream         joined to the stream before it; its text is put together when somebody needs it
  rich output    as nbclient does it: display ids and updates, clear_output, widgets
  over a limit   counted, and said in the cell
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode

from host_bridge.executor.limits import OutputLimits
from host_bridge.executor.logging_outputs import OutputLog
from host_bridge.executor.messages import KernelMessage
from host_bridge.executor.nodes import is_execution_count, output_node
from host_bridge.executor.output_account import CellAccount
from host_bridge.executor.output_widget import SparingOutputWidget
from host_bridge.executor.own_loop import OwnLoop
from host_bridge.executor.redaction import Redactor

_TIMING = {"busy": "iopub.status.busy", "idle": "iopub.status.idle"}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_RICH = frozenset({"display_data", "execute_result", "update_display_data"})
_PROTOCOL_KEYS = frozenset({"transient", "execution_count", "comm_id", "target_name", "wait"})
_NOTE_METADATA = {"hermes": {"note": "cut"}}

ERROR_BYTES = 2**20  # of one traceback: IPython's own are a few KiB
ERRORS_PER_CELL = 100  # an error is kept even in a cell that is full


class NotebookOutputs(NotebookClient):
    """The outputs of a notebook that is being run.

    Args:
        notebook: Gets the outputs.
        client: The kernel's, for widgets that answer it.
        limits: How much is kept.
        redactor: Takes secrets out of texts.
        on_change: Told the index of a cell that changed.
        log: Hears each output as it comes; None if nobody wants to.
    """

    def __init__(
        self,
        notebook: NotebookNode,
        client: Any,
        *,
        limits: OutputLimits,
        redactor: Redactor,
        on_change: Callable[[int], None],
        log: OutputLog | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(notebook, **{**settings, "record_timing": False})
        self.kc = client
        self._limits = limits
        self._redactor = redactor
        self._on_change = on_change
        self._log = log
        self._cells: dict[str, int] = {}
        self._accounts: dict[int, CellAccount] = {}
        self._total_bytes = 0
        self._widget_bytes = 0
        self._display_bytes: dict[str, int] = {}
        self.ignored_widget_messages = 0
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": SparingOutputWidget}}

    # for the run ---------------------------------------------------------------------------------------------------

    def expect(self, message_id: str, index: int) -> None:
        """Say which cell a request's outputs belong to."""
        self._cells[message_id] = index
        self._accounts.setdefault(index, CellAccount())
        self.nb.cells[index].metadata["execution"] = NotebookNode()
        self.clear_before_next_output = False

    def settle(self, index: int) -> None:
        """Say that a cell is over."""
        for widget in self.comm_objects.values():
            if isinstance(widget, SparingOutputWidget):
                widget.flush()
        self._settle_text(index)
        self.bring_up_to_date(index)
        if self._log is not None:
            self._log.flush()

    def bring_up_to_date(self, index: int) -> None:
        """Make a cell's outputs fit to be saved: printed text put together, secrets out of it, what was left out said."""
        account = self._accounts.get(index)
        if account is None:
            return
        if account.pending:
            output = self.nb.cells[index].outputs[-1]
            text = self._redactor.redact(output.text + "".join(account.pending))
            # A secret may be printed in two parts; its beginning must not be saved before its end is known.
            shown = max(0, len(text) - self._redactor.longest)
            output.text, account.pending = (text[:shown], [text[shown:]]) if self._redactor.longest else (text, [])
        if account.left_out_outputs:
            self._say_what_is_left_out(index, account)

    def add_error(self, index: int, name: str, value: str) -> None:
        """Add an error that the kernel could not report itself."""
        if index in self._accounts:
            self._settle_text(index)
        text = self._redactor.redact(value)
        self.nb.cells[index].outputs.append(
            NotebookNode(output_type="error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
        )
        self._on_change(index)

    def room_for(self, message_parent: str) -> int:
        """How large a message may be before it is cut."""
        index = self._cells.get(message_parent)
        if index is None:
            return ERROR_BYTES
        account = self._accounts[index]
        used = min(account.stream_bytes, account.rich_bytes)
        return max(ERROR_BYTES, min(max(self._limits.stream_bytes, self._limits.rich_bytes) - used, self._total_left()))

    def hear(self, message: KernelMessage) -> None:
        """Take a message. Whatever is wrong with it concerns nobody else."""
        index = self._cells.get(message.parent_id)
        if index is None:
            return
        try:
            self._take(message, index)
        except Exception as error:  # its fields are any JSON at all, and nbclient's handlers expect the right ones
            self.log.debug("ignored a %s message: %s", message.msg_type, error)
            return
        self._on_change(index)

    def call_hook(self, name: str, **arguments: Any) -> None:
        """Call one of nbclient's hooks, if it was given. `on_cell_complete` is called when a cell is complete."""
        hook = getattr(self, name)
        if hook is None:
            return
        loop = OwnLoop()
        try:
            loop.wait_for(hook, **arguments)
        finally:
            loop.close()

    # one kind of message after the other ---------------------------------------------------------------------------

    def _take(self, message: KernelMessage, index: int) -> None:
        kind = message.msg_type
        if kind == "stream":
            self._take_stream(message, index)
        elif kind in ("status", "execute_input"):
            self._note_progress(message, index)
        elif kind.startswith("comm_"):
            self._take_widget_message(message, index)
        elif kind == "error":
            self._take_error(message, index)
        elif kind in _RICH:
            self._take_rich(message, index)
        elif kind == "clear_output":
            self._settle_text(index)
            self._hand_over(message, index)

    def _note_progress(self, message: KernelMessage, index: int) -> None:
        cell = self.nb.cells[index]
        if message.msg_type == "execute_input":
            key: str | None = "iopub.execute_input"
            self._note_count(cell, message.content.get("execution_count"))
        else:
            key = _TIMING.get(str(message.content.get("execution_state")))
        date = message.header.get("date")
        if key and isinstance(date, str) and _DATE.fullmatch(date):
            cell.metadata["execution"][key] = date

    def _note_count(self, cell: NotebookNode, count: Any) -> None:
        if is_execution_count(count):
            cell.execution_count = count

    def _take_stream(self, message: KernelMessage, index: int) -> None:
        name, text = message.content.get("name"), message.content.get("text")
        if message.is_cut and not isinstance(text, str):
            name, text = "stdout", ""
        if name not in ("stdout", "stderr") or not isinstance(text, str):
            raise ValueError("not a stream")
        if self.output_hook_stack.get(message.parent_id):
            self._take_rich(message, index)
            return
        outputs = self._outputs_to_extend(index)
        account = self._accounts[index]
        room = min(self._limits.stream_bytes - account.stream_bytes, self._total_left())
        kept, kept_bytes = account.keep_text(text, room, sent_bytes=message.size if message.is_cut else None)
        self._total_bytes += kept_bytes
        if not kept:
            return
        last = outputs[-1] if outputs else None
        if last is None or last.output_type != "stream" or last.name != name:
            if len(outputs) >= self._limits.outputs:
                account.leave_out(len(kept))
                return
            self._settle_text(index)
            outputs.append(NotebookNode(output_type="stream", name=name, text=""))
        account.pending.append(kept)
        if self._log is not None:
            self._log.write(name, kept)

    def _take_rich(self, message: KernelMessage, index: int) -> None:
        if message.msg_type == "update_display_data":
            self._take_update(message, index)
            return
        outputs = self._outputs_to_extend(index)
        account = self._accounts[index]
        self._note_count(self.nb.cells[index], message.content.get("execution_count"))
        if (
            message.is_cut
            or len(outputs) >= self._limits.outputs
            or account.rich_bytes + message.size > self._limits.rich_bytes
            or message.size > self._total_left()
        ):
            account.leave_out(message.size)
            return
        self._settle_text(index)
        account.rich_bytes += message.size
        self._total_bytes += message.size
        self._display_bytes[_display_id(message)] = message.size
        message.content = self._redacted(message.content)
        self._hand_over(message, index)

    def _take_update(self, message: KernelMessage, index: int) -> None:
        """An update takes the place of what is displayed, wherever that is."""
        display_id = _display_id(message)
        places = sum(map(len, self._display_id_map.get(display_id, {}).values()))
        growth = places * (message.size - self._display_bytes.get(display_id, 0))
        if message.is_cut or message.size > self._limits.rich_bytes or growth > self._total_left():
            self._accounts[index].leave_out(message.size)
            return
        self._total_bytes += growth
        self._display_bytes[display_id] = message.size
        message.content = self._redacted(message.content)
        self._hand_over(message, index)

    def _take_error(self, message: KernelMessage, index: int) -> None:
        account = self._accounts[index]
        if message.is_cut or message.size > ERROR_BYTES or account.errors >= ERRORS_PER_CELL:
            account.leave_out(message.size)
            return
        account.errors += 1
        self._settle_text(index)
        message.content = self._redacted(message.content)
        if message.content.get("ename") == "SystemExit" and message.content.get("evalue") == "None":
            message.content["evalue"] = ""  # sys.exit(None) is sys.exit(): papermill's readers know that one
        self._hand_over(message, index)

    def _take_widget_message(self, message: KernelMessage, index: int) -> None:
        self._widget_bytes += message.size
        if message.is_cut or self._widget_bytes > self._limits.widget_bytes:
            self.ignored_widget_messages += 1
            return
        message.content = self._redacted(message.content)
        self._hand_over(message, index)

    def _hand_over(self, message: KernelMessage, index: int) -> None:
        cell = self.nb.cells[index]
        count = cell.execution_count
        try:
            output = self.process_message(message.as_jupyter(), cell, index)
        finally:
            cell.execution_count = count  # checked and noted before; nbclient takes anything for one
        if output is not None and self._log is not None:
            self._log.show(output)

    # nbclient's hooks ----------------------------------------------------------------------------------------------

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Add an output, or hand it to the widget that captures outputs."""
        hooks = self.output_hook_stack.get(msg["parent_header"].get("msg_id"))
        if hooks:
            hooks[-1].output(outs, msg, display_id, cell_index)
            return None
        node = output_node(msg["msg_type"], msg["content"])
        if display_id:
            self._display_id_map.setdefault(display_id, {}).setdefault(cell_index, []).append(len(outs))
        outs.append(node)
        return node

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        """Show new data wherever a display is."""
        places = self._display_id_map.get(display_id)
        if not places:
            return
        node = output_node("display_data", msg["content"])
        for index, positions in places.items():
            for position in positions:
                self.nb.cells[index].outputs[position].update(data=node.data, metadata=node.metadata)
            self._on_change(index)

    def clear_display_id_mapping(self, cell_index: int) -> None:
        """Forget where a cell's displays were; what it used of its limits is free again."""
        super().clear_display_id_mapping(cell_index)
        account = self._accounts.get(cell_index)
        if account is not None:
            self._total_bytes -= account.stream_bytes + account.rich_bytes
            self._accounts[cell_index] = CellAccount(errors=account.errors)

    # text ----------------------------------------------------------------------------------------------------------

    def _outputs_to_extend(self, index: int) -> list[NotebookNode]:
        outputs: list[NotebookNode] = self.nb.cells[index].outputs
        if self.clear_before_next_output:
            self._accounts[index].pending.clear()
            outputs[:] = []
            self.clear_display_id_mapping(index)
            self.clear_before_next_output = False
        return outputs

    def _settle_text(self, index: int) -> None:
        """Put pending text where it belongs before something else follows it."""
        account = self._accounts[index]
        if account.pending:
            output = self.nb.cells[index].outputs[-1]
            output.text = self._redactor.redact(output.text + "".join(account.pending))
            account.pending = []

    def _say_what_is_left_out(self, index: int, account: CellAccount) -> None:
        outputs = self.nb.cells[index].outputs
        if not any(output is account.note for output in outputs):
            self._settle_text(index)
            account.note = NotebookNode(output_type="display_data", data={}, metadata=NotebookNode(_NOTE_METADATA))
            outputs.append(account.note)
        assert account.note is not None
        account.note.data = NotebookNode({"text/plain": account.explanation})

    def _total_left(self) -> int:
        return self._limits.total_bytes - self._total_bytes

    def _redacted(self, content: dict[str, Any]) -> dict[str, Any]:
        """Take secrets out of what a cell decides; ids and counts are the protocol's, and have to stay what they are."""
        if not self._redactor:
            return content
        kept = {key: content[key] for key in _PROTOCOL_KEYS & content.keys()}
        redacted: dict[str, Any] = self._redactor.value(content)
        return {**redacted, **kept}


def _display_id(message: KernelMessage) -> str:
    transient = message.content.get("transient")
    display_id = transient.get("display_id") if isinstance(transient, dict) else None
    return display_id if isinstance(display_id, str) else ""
