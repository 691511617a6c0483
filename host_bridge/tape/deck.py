"""The dispatcher's way to the tapes of a session: it records on one, and answers from an earlier one.

open       a request came: is it answered from the earlier tape?
review     it was decided about, and is about to be done
decided    the intent, before the act
succeeded, failed    the outcome, before the reply
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hermes_protocol.frames import Frame
from hermes_protocol.messages import Failure, ToolRequest
from host_bridge.control import CellStarted, SessionConfig
from host_bridge.errors import CallError, RecordError, TapeError
from host_bridge.policy.model import Decision, Effect
from host_bridge.tape.answers import RecordedCall, Refusal
from host_bridge.tape.effects import Effects
from host_bridge.tape.faults import FaultSource, FaultyCall
from host_bridge.tape.format import canonical_json, sha256
from host_bridge.tape.matching import Divergence, Matcher, Question, shown_call
from host_bridge.tape.plan import PlanGuard, read_plan
from host_bridge.tape.reader import Recorded, TapeReader
from host_bridge.tape.recorder import Recorder
from host_bridge.tape.recording import Recording
from host_bridge.tape.rehearsal import Rehearsal, SimulatedCall
from host_bridge.tape.secrecy import Secrecy
from host_bridge.tape.simulation import simulated_result
from host_bridge.tools.interface import Call, Session, Tool, ToolOutput

ANSWERED = Decision(Effect.ALLOW, "tape", "answered from the tape of an earlier run; nothing was done")
UNKNOWN = "tape:unknown"
MAX_DIVERGENCES = 100  # told at the end; the first says most


class TapedCall(Protocol):
    """What of a running call is looked at here (`host_bridge.calls.RunningCall`)."""

    request: ToolRequest
    call_id: str
    cell_index: int | None
    recording: Recording | None
    doubt: str
    untrusted: str


class Deck:
    """See the module.

    Args:
        config: The session's.
        policy_digest: Names the policy in force.

    Attributes:
        divergences: Where a replay differed from its tape.

    Raises:
        TapeError: A tape can't be made or read.
    """

    def __init__(self, config: SessionConfig, policy_digest: str) -> None:
        orders = config.tape
        self._orders = orders
        self._effects = Effects(config.workspace)
        self._secrecy = Secrecy(config.secrets)
        self._interactive = config.interactive
        self._cell_id = ""
        self._occurrences: dict[bytes, int] = {}
        self._earlier: TapeReader | None = None
        self._matcher: Matcher | None = None
        self._recorder: Recorder | None = None
        self._rehearsal: Rehearsal | None = None
        self._lock = threading.Lock()
        self._faults = FaultSource(orders.fault) if orders.fault is not None else None
        self._guard = PlanGuard(read_plan(orders.plan)) if orders.plan else None
        self.divergences: list[str] = []
        self._diverged_in: int | None = None
        self._is_continued = False
        facts = {
            **orders.facts,
            "policy_digest": policy_digest,
            "session_id": config.session_id,
            "principal": config.principal,
            "profile": config.profile,
            "workspace": config.workspace,
            "mode": orders.mode,
        }
        if orders.earlier:
            self._earlier = TapeReader(orders.earlier)
            self._matcher = Matcher(self._earlier.calls(), self._earlier.cells())
            facts["earlier_root"] = self._earlier.root()
            # It has calls of the attempt before, of a cell that may have been edited since.
            self._is_continued = self._earlier.facts().get("mode") == "resume"
        if orders.path:
            self._recorder = self._open_recorder(orders.path)
            self._recorder.facts(facts)

    def _open_recorder(self, path: str) -> Recorder:
        if self._orders.mode == "resume" and self._earlier is not None:
            return Recorder.continued(path, self._earlier.database, self._secrecy)
        return Recorder.new(path, self._secrecy)

    # what the dispatcher says --------------------------------------------------------------------------------------------

    def open(self, call: TapedCall, bulk: Sequence[Frame]) -> Call | None:
        """Take a request, on the server's thread.

        Returns:
            What answers it in place of its tool; None for the tool itself.
        """
        question = self._question(call, bulk)
        origin, replaces, answer = "live", None, None
        if self._matcher is not None:
            if self._faults is not None and (kind := self._faults.take(question)):
                origin, replaces, answer = self._fail(call, question, kind)
            else:
                found = self._matcher.take(question, any_line=self._is_live(question))
                origin, replaces, answer = self._judge(call, question, found)
        if self._recorder is not None and origin:
            call.recording = Recording(
                self._recorder, question, call.call_id, self._occurrence(question), origin=origin, replaces=replaces
            )
            if isinstance(answer, RecordedCall):
                call.recording.acts, call.recording.is_quick = answer.acts, True
        return answer

    def prepare(self, call: TapedCall, tool: Tool, arguments: Any, session: Session) -> Call:
        """Prepare a call: for real, or for a plan."""
        if self._orders.mode != "plan":
            return tool.prepare(arguments, session)
        with self._lock:
            if self._rehearsal is None:
                self._rehearsal = Rehearsal(session, self._effects)
        prepared = self._rehearsal.prepare(tool, arguments)
        if call.recording is not None and isinstance(prepared, SimulatedCall):
            call.recording.origin = "simulated"
        return prepared

    def review(self, call: TapedCall, tool: str, prepared: Call, decision: Decision) -> Decision:
        """See a call that was decided about, before a person is asked or anything is done."""
        recording = call.recording
        if recording is not None:
            recording.acts = self._effects.acts(tool, prepared.resources, prepared.shown)
            recording.is_quick = prepared.quick
        if self._guard is not None and decision.effect is not Effect.DENY:
            self._check_plan(call, tool, prepared)
        if call.doubt and decision.effect is not Effect.DENY:
            # Also where a rule asks: a yes that was given before, to the notebook or to a loop, was none to doing it twice.
            asks = f"; {decision.reason}" if decision.effect is Effect.ASK else ""
            return Decision(Effect.ASK, UNKNOWN, call.doubt + asks, "--on-unknown redo, or skip")
        return decision

    def decided(self, call: TapedCall, shown: Mapping[str, Any], digest: str, decision: Decision) -> None:
        """Write down what is about to be done.

        Raises:
            RecordError: It can't be, so it must not be done.
        """
        if call.recording is not None:
            call.recording.untrusted = call.untrusted
            if decision.effect is not Effect.ALLOW:
                call.recording.acts = False
                call.recording.is_quick = True
            try:
                call.recording.decided(shown, digest, decision)
            except TapeError as error:
                raise RecordError(f"the call could not be recorded, so it was not done: {error}") from error

    def succeeded(self, call: TapedCall, output: ToolOutput) -> None:
        """Write down a result.

        Raises:
            RecordError: It can't be; the kernel doesn't get it.
        """
        if call.recording is not None:
            try:
                call.recording.succeeded(output)
            except TapeError as error:
                raise RecordError(f"the call was done, and its result could not be recorded: {error}") from error

    def failed(self, call: TapedCall, failure: Failure) -> None:
        """Write down a failure.

        Raises:
            TapeError: It can't be.
        """
        recording = call.recording
        if recording is None:
            return
        if not recording.is_decided:  # it ended before anything was decided
            recording.acts = False
            recording.decided(call.request.arguments, "", Decision(Effect.DENY, "request:ended", failure.message))
        recording.failed(failure)

    # what the host application says --------------------------------------------------------------------------------------

    def cell_started(self, message: CellStarted) -> None:
        """A cell starts."""
        self._cell_id = message.cell_id
        self._occurrences.clear()  # they count within a cell, and no call of an earlier one comes any more
        if self._recorder is not None:
            self._recorder.cell("started", message.index, message.cell_id, message.source_digest)

    def cell_settled(self, index: int, *, cancel: bool = False) -> None:
        """A cell is over: one that was not cancelled has made all of its calls."""
        strict = self._orders.mode == "replay" and self._orders.on_miss == "error"
        if strict and self._matcher is not None and self._faults is None and not cancel:
            self._note_unmade(index)
        if self._recorder is not None:
            self._recorder.cell("settled", index, self._cell_id)

    def _note_unmade(self, index: int) -> None:
        """A cell whose calls differed says that already; one that made fewer does not.

        Where others may be made live, the ones they replace are not made: that is what was asked for.
        """
        assert self._matcher is not None
        if self._diverged_in == index or self._is_continued:
            return
        for call in self._matcher.left_in(index, self._cell_id):
            shown = shown_call(call.row.tool, call.row.arguments)
            place = f"cell {index}, line {call.row.line}" if call.row.line else f"cell {index}"
            self._note_divergence(
                f"the replay differs from the tape: {place}: expected {shown}, and the cell ended without it"
            )

    def _note_divergence(self, text: str) -> None:
        if self._faults is None and len(self.divergences) < MAX_DIVERGENCES:
            self.divergences.append(text)

    def tick(self) -> float | None:
        """Have what waits written in time; gives in how many seconds to come again.

        Raises:
            TapeError: It can't be written.
        """
        return self._recorder.flush() if self._recorder is not None else None

    def hide(self, secret: str) -> None:
        """Keep a secret that has become known out of the tape from now on."""
        self._secrecy = self._secrecy.knowing(secret)
        if self._recorder is not None:
            self._recorder.secrecy = self._secrecy

    def close(self) -> str:
        """End the recording; gives its root hash, empty where there is none.

        Raises:
            TapeError: It can't be ended in order.
        """
        if self._earlier is not None:
            self._earlier.close()
        if self._rehearsal is not None:
            self._rehearsal.close()
        return self._recorder.close() if self._recorder is not None else ""

    # what to do with a call ----------------------------------------------------------------------------------------------

    def _question(self, call: TapedCall, bulk: Sequence[Frame]) -> Question:
        request = call.request
        arguments: dict[str, Any] = request.arguments
        if bulk or request.upload:
            named: dict[str, Any] = {
                name: {"$sha256": sha256(bytes(frame)), "bytes": len(frame)}
                for name, frame in zip(request.bulk, bulk, strict=False)
            }
            arguments = {**arguments, **named, **({request.upload: {"$upload": True}} if request.upload else {})}
        text = self._secrecy.json(arguments)
        digest = hashlib.sha256(f"{request.tool}\n{text}".encode(), usedforsecurity=False).hexdigest()
        line = request.site.line if request.site is not None else 0
        in_cell = call.cell_index is not None
        return Question(request.tool, call.cell_index, self._cell_id if in_cell else "", line, text, digest)

    def _check_plan(self, call: TapedCall, tool: str, prepared: Call) -> None:
        assert self._guard is not None
        if not self._effects.acts(tool, prepared.resources, prepared.shown):
            return
        line = call.request.site.line if call.request.site is not None else 0
        shown = shown_call(tool, self._secrecy.json(prepared.shown))
        try:
            self._guard.check(call.cell_index, line, sha256(canonical_json([tool, prepared.shown])), shown)
        except CallError as error:
            self.divergences.append(f"cell {call.cell_index}, line {line}: {error}")
            raise

    def _occurrence(self, question: Question) -> int:
        key = bytes.fromhex(question.arguments_digest[:32]) + question.line.to_bytes(4)
        count = self._occurrences.get(key, 0)
        self._occurrences[key] = count + 1
        return count

    def _is_live(self, question: Question) -> bool:
        resumes = self._orders.mode == "resume"
        return resumes and (question.cell_index is None or question.cell_index >= self._orders.live_from)

    def _fail(self, call: TapedCall, question: Question, kind: str) -> tuple[str, int | None, Call | None]:
        """Have a call go wrong, once: the tape's answer stays for whoever calls again."""
        assert self._earlier is not None
        assert self._matcher is not None
        found = self._matcher.take(question)
        if isinstance(found, Divergence) or found.outcome is None:
            return self._judge(call, question, found)
        self._matcher.put_back(found)
        return "tape", None, FaultyCall(RecordedCall(self._earlier, found, has_upload=False), kind)

    def _judge(
        self, call: TapedCall, question: Question, found: Recorded | Divergence
    ) -> tuple[str, int | None, Call | None]:
        """Decide where a call's answer comes from.

        Returns:
            The origin to record it with, empty for not recording it; the call it makes again; what answers it.
        """
        if isinstance(found, Divergence):
            return self._miss(question, found)
        if self._is_live(question):
            return self._resume(call, question, found)
        if found.outcome is None:
            message = (
                f"{shown_call(found.row.tool, found.row.arguments)} has no result on the tape: its writer died before"
            )
            return self._refuse(question, message) if self._orders.on_miss == "error" else ("live", None, None)
        return self._answer(call, question, found)

    def _miss(self, question: Question, divergence: Divergence) -> tuple[str, int | None, Call | None]:
        if self._is_live(question) or (self._orders.mode == "replay" and self._orders.on_miss == "live"):
            return "live", None, None
        return self._refuse(question, str(divergence))

    def _refuse(self, question: Question, message: str) -> tuple[str, int | None, Call | None]:
        self._note_divergence(message)
        self._diverged_in = question.cell_index
        refusal = Refusal(message, {"arguments": question.arguments}, remedy="--on-miss live")
        return ("tape" if self._orders.mode == "replay" else ""), None, refusal

    def _resume(self, call: TapedCall, question: Question, found: Recorded) -> tuple[str, int | None, Call | None]:
        if found.is_unknown:
            return self._unknown(call, question, found)
        if found.outcome is None or found.outcome.outcome != "ok":
            return "live", found.row.seq, None  # it changed nothing, and may end better now
        return self._answer(call, question, found)

    def _answer(self, call: TapedCall, question: Question, found: Recorded) -> tuple[str, int | None, Call | None]:
        assert self._earlier is not None
        orders = self._orders
        has_upload = bool(call.request.upload)
        answer = RecordedCall(self._earlier, found, has_upload=has_upload, is_foreign=orders.is_foreign)
        if orders.mode == "resume":
            # It stands on the continued tape already; only if it has moved, the tape has to say where it is now.
            moved = found.row.line != question.line
            return ("tape" if moved else ""), (found.row.seq if moved else None), answer
        return "tape", None, answer

    def _unknown(self, call: TapedCall, question: Question, found: Recorded) -> tuple[str, int | None, Call | None]:
        """Decide about a call that may have been made, or half of it."""
        shown = shown_call(found.row.tool, found.row.arguments)
        why = "was cut off" if found.outcome is not None else "was under way when the bridge died"
        doubt = f"{shown} {why} in the earlier run, so nobody knows whether it was done"
        match self._orders.on_unknown:
            case "redo":
                return "live", found.row.seq, None
            case "skip":
                return "skipped", found.row.seq, simulated_result(found.row.tool, found.row.canonical)
            case "ask" if self._interactive:
                call.doubt = f"{doubt}; making it now may make it twice"
                return "live", found.row.seq, None
        message = f"{doubt}: look, then resume with --on-unknown redo (make it now) or skip (take it for done)"
        return "", None, Refusal(message, {"arguments": question.arguments}, remedy="--on-unknown redo")
