"""What is being written about one call, from its request to its outcome."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hermes_protocol.messages import Failure
from host_bridge.policy.model import Decision
from host_bridge.tape.images import MAX_AFTER_BYTES, look_at
from host_bridge.tape.matching import Question
from host_bridge.tape.recorder import CallRow, Image, Outcome, Recorder
from host_bridge.tape.secrecy import StreamSecrecy
from host_bridge.tools.interface import Bytes, ToolOutput

_FAILURE = msgspec.json.Encoder()


class Recording:
    """One call's way onto the tape. Its steps come one after the other, on whatever thread.

    Args:
        recorder: The tape.
        question: The call.
        call_id: As in the audit log.
        occurrence: The how manieth of its equals it is.
        origin: `live`; or `tape`, where it is answered from an earlier tape.
        replaces: The call of an earlier run that it makes again.
    """

    def __init__(
        self,
        recorder: Recorder,
        question: Question,
        call_id: str,
        occurrence: int,
        *,
        origin: str,
        replaces: int | None,
    ) -> None:
        self._recorder = recorder
        self.question = question
        self._call_id = call_id
        self._occurrence = occurrence
        self.origin = origin
        self._replaces = replaces
        self.acts = True
        self.untrusted = ""
        self.is_quick = False
        self._row: Callable[[int], CallRow] | None = None
        self.number: int | None = None
        self._position = self._images = 0
        self._streams = StreamSecrecy(recorder.secrecy) if recorder.secrecy else None
        self._upload: Any = None
        self._upload_digest = ""
        self._started = time.monotonic()

    def decided(self, shown: Mapping[str, Any], digest: str, decision: Decision) -> None:
        """Write the intent: before the act. That of a quick call which only looks comes with its outcome.

        Raises:
            TapeError: It can't be written, as all methods.
        """
        question, recorder = self.question, self._recorder
        canonical = recorder.secrecy.json(shown)
        reason, untrusted = recorder.secrecy.text(decision.reason), recorder.secrecy.text(self.untrusted)

        def row(number: int) -> CallRow:
            return CallRow(
                seq=number,
                call_id=self._call_id,
                tool=question.tool,
                cell_index=question.cell_index,
                cell_id=question.cell_id,
                line=question.line,
                occurrence=self._occurrence,
                arguments=question.arguments,
                arguments_digest=question.arguments_digest,
                canonical=canonical,
                canonical_digest=digest,
                effect=decision.effect.name.lower(),
                rule_id=decision.rule_id,
                reason=reason,
                acts=self.acts,
                origin=self.origin,
                untrusted=untrusted,
                replaces=self._replaces,
                time=time.time(),
            )

        self._row = row
        if not self._can_wait:
            self.number = recorder.intend(row)

    @property
    def _can_wait(self) -> bool:
        """Whether nothing is lost with it that couldn't be had again: it looks, or was answered from a tape."""
        return self.is_quick and (not self.acts or self.origin == "tape")

    @property
    def is_decided(self) -> bool:
        """Whether it was decided about."""
        return self._row is not None

    def chunk(self, stream: str, data: Bytes) -> None:
        """Keep a piece of a stream: before it is sent."""
        piece = bytes(data) if self._streams is None else self._streams.feed(stream, bytes(data))
        if piece:
            self._keep(stream, piece)

    def uploaded(self, data: bytes, last: bool) -> None:
        """Look at a piece of the upload. Its digest is kept, and only of a whole one."""
        if self._upload is None:
            self._upload = hashlib.sha256(usedforsecurity=False)
        self._upload.update(data)
        if last:
            self._upload_digest = self._upload.hexdigest()

    def keep_image(self, path: str, folder: int, name: str) -> Callable[[], None]:
        """Write down what a file is, before it is changed; gives what to call once it was."""
        assert self.number is not None
        self._put_image("before", look_at(path, folder, name))
        return lambda: self._put_image("after", look_at(path, folder, name, keep_bytes=MAX_AFTER_BYTES))

    def _put_image(self, event: str, image: Image) -> None:
        assert self.number is not None
        if image.content is not None and self._recorder.secrecy.holds_secret(image.content):
            image = dataclasses.replace(image, content=None)
        self._recorder.image(self.number, self._images, event, image)
        self._images += 1

    def succeeded(self, output: ToolOutput) -> None:
        """Write the result: before the reply."""
        value = self._recorder.secrecy.json(output.value).encode()
        bulk = {name: bytes(content) for name, content in output.bulk.items()}
        self._settle(Outcome(outcome="ok", value=value), bulk)

    def failed(self, failure: Failure) -> None:
        """Write the failure: before the reply."""
        encoded = self._recorder.secrecy.scrub(_FAILURE.encode(failure))
        self._settle(Outcome(outcome=failure.code.value, failure=encoded), {})

    def _settle(self, outcome: Outcome, bulk: Mapping[str, bytes]) -> None:
        if self._streams is not None:
            for stream, data in self._streams.rest():
                self._keep(stream, data)
        assert self._row is not None
        whole = msgspec.structs.replace(
            outcome,
            upload_digest=self._upload_digest,
            duration_seconds=round(time.monotonic() - self._started, 6),
        )
        number = self._row if self.number is None else self.number
        self._recorder.settle(number, whole, bulk, self._position, can_wait=self._can_wait)

    def _keep(self, stream: str, data: bytes) -> None:
        if self.number is None:
            assert self._row is not None
            self.number = self._recorder.intend(self._row)
        self._recorder.piece(self.number, self._position, "stream", stream, data)
        self._position += 1
