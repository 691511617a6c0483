"""What one cell may print and display: the rest is counted and left out, and the cell says so.

Without it a loop that prints fills the memory of whoever listens before anybody can stop it. Whoever listens has limits as
well, since a kernel can't be trusted with its own; these keep what is left out from being sent at all.

    print     LimitedStream ──┐
    display   LimitedPublisher ──> OutputAccount: how much room is left ──> a note at the cell's end
    a value   LimitedDisplayHook ──┘
"""

# mypy: disable-error-code="no-untyped-call"
# ipykernel is annotated here and there only.

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.iostream import OutStream
from ipykernel.zmqshell import ZMQDisplayPublisher

LIMIT_VARIABLE = "HERMES_RUNTIME_OUTPUT_BYTES"
"""Set by the provisioner: what one cell may print, and again display. 0 is no limit."""

DEFAULT_LIMIT_BYTES = (
    50 * 2**20
)  # nbformat's readers get slow from about 20 MiB on; Jupyter Server's rate limit is 1 MB/s

MAX_ERROR_TEXT = 128 * 2**10  # characters of one line of a traceback; IPython's own have a few hundred
MAX_ERROR_LINES = 200

PIECE_CHARACTERS = 2**20  # of one message's text

_NOTE_METADATA = {"hermes": {"note": "cut"}}
_BASE64_GROWTH = 4 / 3


class OutputAccount:
    """How much the running cell has printed and displayed, and what was left out of it.

    Args:
        limit_bytes: Of printed text, and again of displayed data. 0 is no limit.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.RLock()  # threads print as well, and so does a signal's handler in the midst of it
        self.begin_cell()

    def begin_cell(self) -> None:
        """Start over: another cell runs."""
        self.left_out_bytes = self.left_out_pieces = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was printed and displayed: the cell has cleared it."""
        self._printed = self._displayed = 0
        self._by_display: dict[str, int] = {}

    def survive_fork(self) -> None:
        """Be of use in a child, which may have been forked while another thread held the lock."""
        self._lock = threading.RLock()

    def admit_text(self, text: str) -> str:
        """Give as much of a text as there is room for, and count the rest. The first time it ends with a note."""
        size = len(text) if text.isascii() else len(text.encode(errors="replace"))
        with self._lock:
            room = self.limit_bytes - self._printed
            if size <= room or not self.limit_bytes:
                self._printed += size
                return text
            kept = text.encode(errors="replace")[: max(0, room)].decode(errors="ignore")
            kept_bytes = len(kept.encode())
            is_first = room >= 0
            self._printed = self.limit_bytes + 1
            self.left_out_bytes += size - kept_bytes
            self.left_out_pieces += 1
        if not is_first:
            return ""
        return (
            f"{kept}\n[hermes-runtime] This cell has printed {self.limit_bytes:,} bytes. More is counted, not shown.\n"
        )

    def admit_display(self, size: int, display_id: str = "", *, update: bool = False) -> bool:
        """Whether there is room for an output; one that is left out is counted.

        Args:
            size: Its bytes.
            display_id: By which it can be updated.
            update: Whether it takes the place of an earlier one.
        """
        with self._lock:
            growth = size - (self._by_display.get(display_id, 0) if update else 0)
            if self.limit_bytes and (size > self.limit_bytes or self._displayed + growth > self.limit_bytes):
                self.left_out_bytes += size
                self.left_out_pieces += 1
                return False
            self._displayed += growth
            if display_id:
                self._by_display[display_id] = size
            return True

    def note(self) -> str:
        """Say what was left out; empty if nothing was."""
        if not self.left_out_pieces:
            return ""
        pieces = "1 piece" if self.left_out_pieces == 1 else f"{self.left_out_pieces:,} pieces"
        return (
            f"[hermes-runtime] {self.left_out_bytes:,} bytes of this cell's output in {pieces} were left out: a cell may "
            f"print {self.limit_bytes:,} bytes and display as many. Print less, or write it to a file.\n"
        )


def _limit_from(environment: Mapping[str, str]) -> int:
    text = environment.get(LIMIT_VARIABLE, "")
    return int(text) if text.isdecimal() else DEFAULT_LIMIT_BYTES


account = OutputAccount(_limit_from(os.environ))
"""The process's: both streams, the publisher and the display hook share it."""

os.register_at_fork(after_in_child=account.survive_fork)


class LimitedStream(OutStream):
    """Standard output or error, as far as there is room."""

    def write(self, string: str) -> int | None:  # type: ignore[override]
        """Write what there is room for; the caller needn't know."""
        if not isinstance(string, str):
            return super().write(string)  # which says what is wrong
        kept = account.admit_text(string)
        if kept:
            super().write(kept)
        return len(string)

    def _flush_buffers(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Give what was written in pieces: whoever gets a message has it in memory several times over."""
        for parent, text in super()._flush_buffers():
            for start in range(0, len(text), PIECE_CHARACTERS):
                yield parent, text[start : start + PIECE_CHARACTERS]


class LimitedPublisher(ZMQDisplayPublisher):
    """Displays, as far as there is room."""

    def publish(
        self,
        data: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        source: Any = None,
        *,
        transient: Mapping[str, Any] | None = None,
        update: bool = False,
        **options: Any,
    ) -> None:
        """Publish what there is room for; `source` has had no meaning for long."""
        display_id = str((transient or {}).get("display_id") or "")
        if account.admit_display(bundle_bytes(data), display_id, update=update):
            super().publish(data, metadata, transient=transient, update=update, **options)

    def clear_output(self, wait: bool = False) -> None:
        """Clear what the cell has put out, which makes room."""
        super().clear_output(wait)
        account.clear()

    def publish_note(self) -> None:
        """Say what was left out of the cell that ends, if anything was."""
        text = account.note()
        if text:
            super().publish({"text/plain": text}, _NOTE_METADATA)


class LimitedDisplayHook(ZMQShellDisplayHook):
    """Values of cells, as far as there is room."""

    def finish_displayhook(self) -> None:
        """Send the value if there is room."""
        if self.msg and not account.admit_display(bundle_bytes(self.msg["content"]["data"])):
            self.msg = None
        super().finish_displayhook()


def bundle_bytes(data: Mapping[str, Any]) -> int:
    """Give about what a MIME bundle takes in a message: exactly for texts."""
    return sum(_value_bytes(value) for value in data.values())


def shorten(text: str, most: int = MAX_ERROR_TEXT) -> str:
    """Leave the middle out of a text that is longer than anybody reads."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… [hermes-runtime] {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def shorten_lines(lines: Sequence[str]) -> list[str]:
    """Leave the middle out of a traceback that is longer than anybody reads."""
    half = MAX_ERROR_LINES // 2
    kept = list(lines)
    if len(kept) > MAX_ERROR_LINES:
        kept = [*kept[:half], f"… [hermes-runtime] {len(kept) - 2 * half:,} lines left out …", *kept[-half:]]
    share = max(1_000, MAX_ERROR_TEXT // max(1, len(kept)))
    return [shorten(line, share) for line in kept] if sum(map(len, kept)) > MAX_ERROR_TEXT else kept


def _value_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, bytes | bytearray | memoryview):
        return int(len(value) * _BASE64_GROWTH)
    try:
        return len(json.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):
        return 0  # what isn't JSON is refused further on, by whoever knows best how to say so
