"""The life of one call: canonicalise, decide, ask, record, run, record, reply.

Quick calls (a small file on a local disk) go through all of it on the server's thread, which saves two thread switches;
everything that could wait runs on a bounded pool of workers, so one slow tool delays nobody. This is also the one boundary
where exceptions become replies.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from hermes_protocol.errors import ErrorCode
from hermes_protocol.frames import Frame
from hermes_protocol.messages import Failure, ToolReply, ToolRequest
from host_bridge.approvals.calls import AskedCall
from host_bridge.approvals.desk import Desk, stopped
from host_bridge.audit.log import AuditLog
from host_bridge.audit.recorded_calls import about
from host_bridge.audit.records import CallDecided, CallSettled, Record, SessionTainted
from host_bridge.calls import Line, RunningCall
from host_bridge.errors import (
    AuditError,
    CallError,
    DeniedError,
    InvalidCallError,
    RecordError,
    TapeError,
)
from host_bridge.narrowing import Narrowings, judge_process
from host_bridge.policy.engine import decide
from host_bridge.policy.loading import Policy
from host_bridge.policy.model import AccessRequest, Decision, Effect, Resource
from host_bridge.policy.provenance import untrusted_source
from host_bridge.secrets.veil import Veil
from host_bridge.sessions import SessionState, call_digest
from host_bridge.tape.answers import RecordedTool
from host_bridge.tape.deck import ANSWERED, Deck
from host_bridge.tools.interface import Bytes, Call, Tool, ToolOutput
from host_bridge.tools.registry import Registry


class Dispatcher:
    """Takes requests from the server and settles each exactly once.

    Args:
        session: Whose calls these are.
        registry: The tools there are.
        policy: The rules in force.
        log: Where calls are recorded; what can't be recorded isn't done.
        desk: Where calls wait for a person.
        line: How a running call reaches its kernel.
        settle: Hands a reply to the server, from any thread.
        deck: Records calls on the run's tape and answers them from an earlier one; None for neither.
        workers: How many calls may run at the same time; the others wait their turn.
    """

    def __init__(
        self,
        session: SessionState,
        registry: Registry,
        policy: Policy,
        log: AuditLog,
        *,
        desk: Desk,
        line: Line,
        settle: Callable[[RunningCall, ToolReply, Sequence[Frame]], None],
        deck: Deck | None = None,
        workers: int = 32,
    ) -> None:
        self._session = session
        self._registry = registry
        self._policy = policy
        self._log = log
        self._desk = desk
        self._line = line
        self._settle = settle
        self._deck = deck
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="call")
        self._next_call = 0
        self.narrowings = Narrowings(registry)

    def open(self, request: ToolRequest, peer: object) -> RunningCall:
        """Make the call that a request asks for; `start` sets it going."""
        self._next_call += 1
        return RunningCall(
            request,
            call_id=f"{self._session.config.session_id}-{self._next_call}",
            peer=peer,
            session=self._session,
            line=self._line,
            authorise=self._authorise,  # no closure over the call, which would then be garbage for the collector to find
            note_untrusted=self._note_untrusted,
        )

    def start(self, call: RunningCall, bulk: Sequence[Frame]) -> None:
        """Begin a call, on the server's thread. Returns soon: at once for what could wait."""
        try:
            recorded = self._deck.open(call, bulk) if self._deck is not None else None
            if recorded is not None:
                self._answer_recorded(call, recorded)
                return
            tool = self._registry.find(call.request.tool)
            arguments = _arguments(tool, call.request, bulk)
            call.narrowing = self.narrowings.layers(call.request.narrow)
            self._session.budgets.reserve(tool.name, _size(call.request, bulk))
            call.reserved = True
            quick = tool.quick_prepare(arguments, self._session)
        except Exception as error:
            self._refuse(call, error)
            return
        if quick:
            self._advance(call, tool, arguments, on_server=True)
        else:
            self._pool.submit(self._advance, call, tool, arguments, on_server=False)

    def give_up(self, call: RunningCall) -> None:
        """Settle a call that has ended, whether or not its tool stops: the kernel must not wait for ever."""
        if call.claim():
            self._reply_failure(call, call.ending(), recorded=call.running)

    def close(self) -> None:
        """Start nothing any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _advance(self, call: RunningCall, tool: Tool, arguments: Any, *, on_server: bool) -> None:
        prepared: Call | None = None
        try:
            self._session.check_cell()
            call.check()
            if self._desk.is_stopped:
                raise _denied(stopped())
            if self._deck is None:
                prepared = tool.prepare(arguments, self._session)
            else:
                prepared = self._deck.prepare(call, tool, arguments, self._session)
            if call.request.secrets:
                self._admit_secrets(call, tool, prepared)
            request = self._request(call, prepared.resources)
            decision = self._decide(request, prepared.about)
            if self._deck is not None:
                decision = self._deck.review(call, tool.name, prepared, decision)
            if decision.effect is Effect.ASK:
                self._ask(call, tool, prepared, request, decision)
                return
            if on_server and not prepared.quick:
                self._pool.submit(self._finish, call, tool, prepared, decision)
                return
        except Exception as error:
            if prepared is not None:
                prepared.close()
            self._refuse(call, error)
            return
        self._finish(call, tool, prepared, decision)

    def _answer_recorded(self, call: RunningCall, recorded: Call) -> None:
        """Settle a call from an earlier tape: what was decided and done then is neither decided nor done again."""
        tool = RecordedTool(call.request.tool, recorded)
        if recorded.quick:
            self._finish(call, tool, recorded, ANSWERED)
        else:
            self._pool.submit(self._finish, call, tool, recorded, ANSWERED)

    def _finish(self, call: RunningCall, tool: Tool, prepared: Call, decision: Decision) -> None:
        acted = False
        try:
            try:
                digest = call_digest(tool.name, prepared.shown)
                if decision.effect is Effect.ALLOW:
                    call.untrusted = self._source(tool, prepared)
                self._record_decided(call, prepared.shown, digest, decision, prepared.resources)
                if decision.effect is not Effect.ALLOW:
                    raise _denied(decision) if call.ended is None else call.ending()
                acted = call.running = True
                call.check()
                output = prepared.run(call)
                if self._session.vault.veil is not None:
                    call.finish_streams()
                    output = _veiled(output, self._session.vault.veil, call.emitted_bytes)
            finally:
                prepared.close()
        except Exception as error:
            if call.claim():
                self._reply_failure(call, self._hand_over_error(call, tool, error, acted), recorded=acted)
        else:
            if call.claim():
                self._reply_result(call, output)

    def _admit_secrets(self, call: RunningCall, tool: Tool, prepared: Call) -> None:
        """Let a call have the secrets it names, or refuse it: before anybody is asked about it."""
        call.secrets = self._session.vault.admit(call.request, tool.secret_arguments, prepared.resources)
        # Part of what is hashed: the same text without a secret in it is another call.
        prepared.shown = {"secrets": list(call.secrets), **prepared.shown}

    def _ask(self, call: RunningCall, tool: Tool, prepared: Call, request: AccessRequest, decision: Decision) -> None:
        """Have a person asked, unless somebody said yes or no already. The call holds no thread while it waits."""
        asked = AskedCall(
            call_id=call.call_id,
            principal=request.principal,
            tool=tool.name,
            digest=_asked_digest(call, tool, prepared),
            shown=prepared.shown,
            resources=prepared.resources,
            rule_id=decision.rule_id,
            rule=self._policy.rule_text(decision.rule_id),
            reason=decision.reason,
            remedy=decision.remedy,
            cell_index=call.cell_index,
            line=call.request.site.line if call.request.site else 0,
            untrusted=request.untrusted,
            secrets=call.secrets,
            is_unseen=bool(call.request.upload),
        )
        answered = self._desk.ask(call, asked, lambda answer: self._go_on(call, tool, prepared, answer))
        if answered is not None:
            self._go_on(call, tool, prepared, answered)

    def _go_on(self, call: RunningCall, tool: Tool, prepared: Call, decision: Decision) -> None:
        try:
            self._pool.submit(self._finish, call, tool, prepared, decision)
        except RuntimeError:  # the session ends, and starts nothing any more
            prepared.close()

    def _request(self, call: RunningCall, resources: tuple[Resource, ...]) -> AccessRequest:
        """Say what is asked now: what a session has read by the time it is decided about counts, and nothing later."""
        return AccessRequest(
            self._session.config.principal,
            call.request.tool,
            resources,
            untrusted=self._session.taint.source,
            narrowing=call.narrowing,
        )

    def _decide(self, request: AccessRequest, about: tuple[Resource, ...] = ()) -> Decision:
        decision = decide(self._policy, request)
        if about and request.narrowing and decision.effect is not Effect.DENY:
            return judge_process(request, about) or decision
        return decision

    def _authorise(self, call: RunningCall, resources: tuple[Resource, ...]) -> None:
        decision = self._decide(self._request(call, resources))
        if decision.effect is not Effect.ALLOW:
            raise _denied(decision)

    def _source(self, tool: Tool, prepared: Call) -> str:
        """Where what a call gives comes from, if that is not trusted."""
        resources = (*prepared.resources, *prepared.about) if prepared.about else prepared.resources
        source = untrusted_source(tool.name, resources, self._session.workspace)
        return source or prepared.untrusted or (tool.name if tool.gives_untrusted else "")

    def _note_untrusted(self, call: RunningCall) -> None:
        """Remember that the session is about to be given untrusted content, before it is.

        Raises:
            RecordError: That can't be recorded, so it isn't given.
        """
        record = SessionTainted(call_id=call.call_id, tool=call.request.tool, source=call.untrusted)
        self._session.taint.note(call.untrusted, lambda: self._append(record))
        call.untrusted = ""  # last: who goes on after an error comes here again

    def _hand_over_error(self, call: RunningCall, tool: Tool, error: Exception, acted: bool) -> Exception:
        """Give the error to reply with. The words of a tool that speaks for others are theirs, so they count as content."""
        is_theirs = isinstance(error, CallError) and not isinstance(error, RecordError)
        if acted and tool.gives_untrusted and call.untrusted and is_theirs:
            try:
                self._note_untrusted(call)
            except RecordError as unrecorded:
                return unrecorded
        return error

    def _refuse(self, call: RunningCall, error: Exception) -> None:
        """End a call that never came to be decided by a rule."""
        if not call.claim():
            return
        failure = _failure(error, call.request.tool, self._session.vault.veil)
        rule_id = failure.rule_id or f"request:{failure.code}"
        arguments = call.request.arguments
        try:
            self._record_decided(
                call,
                arguments,
                call_digest(call.request.tool, arguments),
                Decision(Effect.DENY, rule_id, failure.message),
            )
        except RecordError as unrecorded:
            error = unrecorded
        self._reply_failure(call, error, recorded=False)

    def _record_decided(
        self,
        call: RunningCall,
        shown: Mapping[str, Any],
        digest: str,
        decision: Decision,
        resources: tuple[Resource, ...] = (),
    ) -> None:
        config = self._session.config
        record = CallDecided(
            call_id=call.call_id,
            session_id=config.session_id,
            principal=config.principal,
            notebook=config.notebook,
            run_id=config.run_id,
            cell_index=call.cell_index,
            tool=call.request.tool,
            arguments=dict(shown),
            about=about(call.request.tool, resources),
            arguments_digest=digest,
            effect=decision.effect.name.lower(),
            rule_id=decision.rule_id,
            reason=decision.reason,
            answer=decision.answer,
            question_id=decision.question_id,
        )
        self._append(record)
        if self._deck is not None:
            self._deck.decided(call, shown, digest, decision)

    def _append(self, record: Record) -> None:
        try:
            self._log.append(record)
        except AuditError as error:
            _report(error)
            raise RecordError(
                "the call could not be recorded, so it was not done; see the host's disk and log"
            ) from error

    def _reply_result(self, call: RunningCall, output: ToolOutput) -> None:
        digest = call.result_hash
        try:
            value = msgspec.json.encode(output.value)
            content_bytes = sum(map(len, output.bulk.values()))
            self._session.budgets.take_result(content_bytes, len(value))
            # A command that said nothing gave nothing.
            if call.untrusted and (content_bytes or call.request.tool != "terminal"):
                self._note_untrusted(call)
            for content in output.bulk.values():
                digest.update(content)
            digest.update(value)
            result_bytes = call.emitted_bytes + content_bytes
            reply = ToolReply(id=call.request.id, result=output.value, bulk=tuple(output.bulk))
            if self._deck is not None:
                self._deck.succeeded(call, output)
            self._record_settled(call, "ok", digest.hexdigest(), result_bytes)
        except AuditError as error:
            _report(error)
            done = RecordError(
                "the call was made, and how it ended could not be recorded: make room where the audit log is, and look at what "
                "it did before making it again"
            )
            self._reply_failure(call, done)
            return
        except Exception as error:
            self._reply_failure(call, error)
            return
        self._settle(call, reply, [_frame(content) for content in output.bulk.values()])

    def _reply_failure(self, call: RunningCall, error: Exception, *, recorded: bool = True) -> None:
        failure = _failure(error, call.request.tool, self._session.vault.veil)
        if recorded:
            try:
                self._record_settled(call, failure.code.value, "", call.emitted_bytes)
            except AuditError as unrecorded:
                _report(unrecorded)  # the act is done or has failed; the next call finds the log closed
        if self._deck is not None:
            try:
                self._deck.failed(call, failure)
            except TapeError as unrecorded:
                _report(unrecorded)  # as above: it then stands on the tape as unknown
        self._settle(call, ToolReply(id=call.request.id, failure=failure), ())

    def _record_settled(self, call: RunningCall, outcome: str, digest: str, size: int) -> None:
        self._log.append(
            CallSettled(
                call_id=call.call_id,
                outcome=outcome,
                duration_seconds=round(time.monotonic() - call.started, 6),
                result_digest=digest,
                result_bytes=size,
            )
        )


def _arguments(tool: Tool, request: ToolRequest, bulk: Sequence[Frame]) -> Any:
    arguments: dict[str, Any] = request.arguments
    if bulk or request.upload:
        named: dict[str, Any] = {name: bytes(frame) for name, frame in zip(request.bulk, bulk, strict=True)}
        if request.upload:
            named[request.upload] = {}
        if len(named) != len(bulk) + bool(request.upload) or not arguments.keys().isdisjoint(named):
            raise InvalidCallError("an argument was given twice")
        arguments = {**arguments, **named}
    if tool.takes_anything:
        return arguments
    try:
        # With `bytes` declared native, text is not silently taken for base64.
        return msgspec.convert(arguments, type=tool.Arguments, builtin_types=(bytes,))
    except (msgspec.ValidationError, UnicodeError) as error:
        from hermes_protocol.misfits import explain  # no session's start waits for what only a mistake needs

        raise InvalidCallError(f"{tool.name}: {explain(error, tool.Arguments)}") from None


def _asked_digest(call: RunningCall, tool: Tool, prepared: Call) -> str:
    """Name what is asked. An upload's bytes follow the answer, so no two such calls are known to be equal."""
    if not call.request.upload:
        return call_digest(tool.name, prepared.shown)
    return call_digest(tool.name, {**prepared.shown, "upload of": call.call_id})


def _denied(decision: Decision) -> DeniedError:
    return DeniedError(decision.reason, rule_id=decision.rule_id, remedy=decision.remedy)


def _size(request: ToolRequest, bulk: Sequence[Frame]) -> int:
    """How many bytes a request brings; an upload's are counted as they come."""
    return len(msgspec.json.encode(request.arguments)) + sum(map(len, bulk))


def _failure(error: Exception, tool: str, veil: Veil | None) -> Failure:
    """The one place where exceptions become what the kernel sees."""
    if isinstance(error, CallError):
        message, remedy = str(error), error.remedy
        if veil is not None:
            message, remedy = veil.text(message), veil.text(remedy)
        return Failure(code=error.code, message=message[:16_000], rule_id=error.rule_id[:256], remedy=remedy[:16_000])
    _report(error, veil)
    return Failure(
        code=ErrorCode.INTERNAL, message=f"the host could not finish {tool}: a defect of the host, described in its log"
    )


def _report(error: Exception, veil: Veil | None = None) -> None:
    # The session's stderr is the host's log: a traceback there is for the administrator and never for the kernel.
    text = "".join(traceback.format_exception(error))
    print(text if veil is None else veil.text(text), file=sys.stderr, flush=True)


def _veiled(output: ToolOutput, veil: Veil, emitted_bytes: int) -> ToolOutput:
    value, bulk = veil.plain(output.value), {name: veil.data(content) for name, content in output.bulk.items()}
    if isinstance(value, dict) and "returned_bytes" in value:
        # What a tool counted before a secret's name took its value's place; the kernel checks that all of it has come.
        value = {**value, "returned_bytes": emitted_bytes + sum(map(len, bulk.values()))}
    return ToolOutput(value, bulk)


def _frame(content: Bytes) -> Frame:
    return bytes(content) if isinstance(content, bytearray) else content
