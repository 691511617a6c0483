"""The control channel between a host application and one bridge session: what they may say, and how it travels.

A connected Unix stream socket, inherited by the session process; each message is a 4-byte big-endian length and a MessagePack
map tagged by `type`. The host application (through the provisioner) is the only one at the other end, so this channel is
trusted in who speaks, and still typed and bounded. When it closes, the session ends: that is how a bridge dies with its host.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from typing import Any, Literal

import msgpack
import msgspec

from host_bridge.errors import SessionError

MAX_CONTROL_BYTES = 16 * 2**20
_LENGTH = struct.Struct(">I")


class ControlMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all control messages share."""


class SecretUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one secret may go. Its value stays with the host application until a call needs it.

    Attributes:
        tools: Rules, as in a policy's `allow`: a call must be allowed by them in every part to be given the secret.
        hosts: For calls that name URLs, the origins that may be sent it: `host` (https), `host:port`, or `http://host:port`.
    """

    name: str
    tools: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class TapeFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that goes wrong in a replay: the first call from this place of the notebook.

    Attributes:
        kind: `"timeout"`, `"denied"`, `"provider"` (an error of its) or `"truncated"`.
    """

    cell_index: int
    line: int
    tool: str
    kind: str


class TapeOrders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a session does with tapes (`host_bridge.tape`).

    Attributes:
        path: Where to record; in a folder no kernel reaches. Empty for not recording.
        facts: What the host application knows of the run; kept with it.
        earlier: The tape of an earlier run, to answer calls from; empty for none.
        mode: `"record"`; `"replay"` answers calls from the earlier tape; `"resume"` continues it.
        plan: With `apply`, the plan whose effects alone may be done. With the mode `plan`, what acts is simulated.
        fault: With `replay`, what goes wrong.
        is_foreign: Whether nobody here knows that the earlier tape is as its run left it. What it gives counts as untrusted
            content then.
        live_from: With `resume`, the cell whose calls are made in earnest where the earlier tape doesn't have them.
        on_miss: What a replay does with a call that isn't on the tape: `"error"`, or `"live"` to make it.
        on_unknown: What a resumed run does about a call that may or may not have been made: `"ask"`, `"skip"`, `"redo"` or
            `"fail"`.
    """

    path: str = ""
    facts: dict[str, Any] = {}
    earlier: str = ""
    mode: Literal["record", "replay", "resume", "plan", "apply"] = "record"
    plan: str = ""
    fault: TapeFault | None = None
    is_foreign: bool = False
    live_from: int = 0
    on_miss: Literal["error", "live"] = "error"
    on_unknown: Literal["ask", "skip", "redo", "fail"] = "fail"


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All a session needs to know; nothing of it is read from the environment.

    Attributes:
        endpoint: The ZeroMQ address to bind: `ipc://…` or `tcp://host:*`; with `dials` the one to connect to.
        server_public_key: The bridge's CURVE key pair, Z85 text, made by the host so that it can tell the kernel at once.
        dials: Whether the kernel binds the endpoint and the session connects to it: for a kernel that can't connect. There is
            one connection at a time then.
        workspace: Absolute path of the folder relative paths start from.
        policy_paths: Policy files in order of authority, most trusted first, as `(layer name, path)`.
        policy_texts: Further layers given as TOML text, as `(layer name, text)`: rules from the command line.
        notebook_permissions: `metadata.hermes.permissions` of the notebook, None when it declares nothing.
        declaration_accepted: Whether a person accepted what the notebook declares: what it allows then needs no further yes.
        notebook_digest: SHA-256 of the notebook's source (`provisioning.notebook.source_digest`); empty where none is known.
        accepted_path: Where it is kept which declarations a person accepted: for the host, and never to be written by a call.
        grants_path: Where what a person allowed a notebook is kept; empty where nothing can be.
        user_policy_path: Where the answer `always` writes its rule; empty where it can't. The file need not exist.
        confinement: How the kernel is confined, as results name it.
        kernel_limits: What of the machine the kernel may use, and what holds it to that; for people.
        audit_path: The file to append records to; created 0600.
        audit_arguments: `"full"`, or `"digest"` to keep arguments out of the log.
        audit_heads: The file in which the log's last hashes are kept; empty for none.
        audit_rotate_bytes: The size beyond which the log goes on in another file; 0 for never.
        secrets: Values that must never be written to the audit log, whatever carries them.
        secret_uses: The secrets that calls may be given by handle, and where each may go.
        tool_settings: The `[tools.*]` tables of the host's configuration.
        environment: The variables commands get.
        host_tools: Names of the tools the host application will provide, so that rules may name them.
        budgets: Limits by name (`budgets.MEANINGS`, and `calls.TOOL`). Absent means no limit of that kind.
        interactive: Whether somebody answers `Asked`; where nobody does, `ask` is a denial.
        marks_cells: Whether the host says which cell runs. Then a call outside any cell is refused.
        memory_bytes: The session process ends itself above this much resident memory.
        tape: What to record and what to answer from an earlier tape.
    """

    session_id: str
    endpoint: str
    server_public_key: str
    server_secret_key: str
    dials: bool = False
    workspace: str
    principal: str = "default"
    profile: str = "workspace"
    policy_paths: tuple[tuple[str, str], ...] = ()
    policy_texts: tuple[tuple[str, str], ...] = ()
    notebook: str = ""
    notebook_permissions: dict[str, Any] | None = None
    declaration_accepted: bool = False
    notebook_digest: str = ""
    accepted_path: str = ""
    grants_path: str = ""
    user_policy_path: str = ""
    run_id: str = ""
    confinement: str = "none"
    kernel_limits: str = ""
    audit_path: str
    audit_arguments: str = "full"
    audit_heads: str = ""
    audit_rotate_bytes: int = 0
    secrets: tuple[str, ...] = ()
    secret_uses: tuple[SecretUse, ...] = ()
    tool_settings: dict[str, dict[str, Any]] = {}
    environment: dict[str, str] = {}
    host_tools: tuple[str, ...] = ()
    budgets: dict[str, float] = {}
    interactive: bool = False
    ask_timeout_seconds: float = 300.0
    marks_cells: bool = False
    memory_bytes: int = 512 * 2**20
    tape: TapeOrders = TapeOrders()

    def __repr__(self) -> str:
        # It holds keys and secrets, and a repr ends up in logs and tracebacks.
        return f"SessionConfig(session_id={self.session_id!r}, workspace={self.workspace!r}, profile={self.profile!r})"


# host application -> session


class Open(ControlMessage, frozen=True, tag="open"):
    """The first message."""

    config: SessionConfig


class KernelStarting(ControlMessage, frozen=True, tag="kernel_starting"):
    """A kernel process is about to start with this CURVE public key (Z85). Earlier keys are worth nothing from now on, and
    calls made under them are cancelled."""

    public_key: str


class CellStarted(ControlMessage, frozen=True, tag="cell_started"):
    """A cell is about to be executed. Sent before its execution request, so it is read before any of its calls.

    `narrow` are rules: the cell's calls are allowed nothing else. Empty leaves them what they have.
    """

    index: int
    cell_id: str = ""
    narrow: tuple[str, ...] = ()
    source_digest: str = ""


class CellSettled(ControlMessage, frozen=True, tag="cell_settled"):
    """The cell is done. With `cancel`, calls it left open are cancelled (a timed-out or interrupted cell)."""

    index: int
    cancel: bool = False


ANSWERS = frozenset({"once", "run", "notebook", "always", "no", "stop"})
"""All a person can say to a question; `Answer` tells what each means."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a yes to a loop covers: calls that match a rule, up to a number of them, for a time.

    Attributes:
        rule: As a policy's rules are written: `terminal(git push origin *)`. It must match the call that was asked about.
        calls: How many calls, the one asked about included.
        seconds: For how long from the answer on.
    """

    rule: str
    calls: int
    seconds: float


class Answer(ControlMessage, frozen=True, kw_only=True, tag="answer"):
    """A person's answer to `Asked`. Whatever is none of `ANSWERS` is a no.

    `once`      this call, and those equal to it that waited when it was shown (`Asked.waiting`)
    `run`       this very call until the session ends; with `pattern`, the calls that it bounds, and no others
    `notebook`  this very call whenever this notebook makes it, until the notebook's source changes
    `always`    a rule for it in the user's policy file, from the next session on, and this very call until this one ends
    `no`        not this call, nor those that wait with it
    `stop`      no, and the run stops

    Attributes:
        question_id: The question's; a prompter may leave it empty.
        covers: Digests of `Asked.siblings` that a yes is for too, other than the calls equal to the one asked about.
        pattern: Only with `run`.
        by: Who or what answered, for the audit log: `terminal`, `application`, `inbox`, a name.
    """

    question_id: str = ""
    answer: str
    covers: tuple[str, ...] = ()
    pattern: Pattern | None = None
    by: str = ""


class HostToolReply(ControlMessage, frozen=True, tag="host_tool_reply"):
    """The result of a tool the host application provides, or why there is none."""

    call_id: str
    value: Any = None
    failure: str = ""


class SecretReply(ControlMessage, frozen=True, tag="secret_reply"):
    """A secret's value, or why there is none."""

    name: str
    value: str = ""
    failure: str = ""

    def __repr__(self) -> str:
        return f"SecretReply(name={self.name!r}, failure={self.failure!r})"  # a repr ends up in logs


class ProvideTools(ControlMessage, frozen=True, tag="provide_tools"):
    """The host application offers tools of its own: `(name, summary)` by the wire's description of a tool."""

    tools: tuple[dict[str, Any], ...] = ()


class End(ControlMessage, frozen=True, tag="end"):
    """Finish: cancel what runs, write the last record, remove the endpoint, say `Ended`, exit."""


# session -> host application


class Ready(ControlMessage, frozen=True, tag="ready"):
    """The endpoint is bound, or dialled. `endpoint` has the real port where `*` was asked for."""

    endpoint: str


class Refused(ControlMessage, frozen=True, tag="refused"):
    """The session can't start: a policy that doesn't load, an audit file that can't be written. The process exits.

    `error` names a class of `host_bridge.errors`.
    """

    error: str
    message: str
    path: str = ""
    key: str = ""


class Sibling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another call of the same loop that waits on the same question, with other arguments.

    Attributes:
        digest: Names the normalised call; `Answer.covers` has those that a yes is for too.
        shown: Its normalised arguments.
        targets: What it would touch, as text.
        waiting: How many calls wait that are equal to it.
    """

    digest: str
    shown: dict[str, Any]
    targets: tuple[str, ...] = ()
    waiting: int = 1


class Asked(ControlMessage, frozen=True, kw_only=True, tag="asked"):
    """A call waits for a person. Answer with `Answer`; no answer within `timeout_seconds` is a no.

    What was shown is what runs: a question never changes. Calls of the same loop that come later wait for its answer, and what
    that doesn't cover is asked about in a question of its own.

    Attributes:
        shown: The normalised arguments, in full. Hostile text: escape it (`policy.display`).
        targets: The canonical resources as text: paths, commands, places on the network. Hostile text too.
        rule_id: The rule that asks.
        remedy: The rule that would allow the call without asking; empty where no single one would do.
        suggested: The rule to propose as a pattern for a loop of such calls; empty where no single one would do.
        digest: Names the normalised call.
        waiting: How many calls equal to this one wait, itself included.
        siblings: The further calls of its loop that wait.
        problem: Why the answer that was given before could not be used; show it, the question is asked again.
        notebook: Absolute path, empty where none is known.
        notebook_digest: Of its source. Empty where it isn't known, and then `notebook` can't be answered.
        line: The line within the cell by the kernel's word, from 1; 0 when unknown.
        source_line: That line, escaped; filled by the executor, which has the notebook.
        untrusted: Where content that nobody vouches for came from, if the session has read any.
    """

    question_id: str
    tool: str
    shown: dict[str, Any]
    targets: tuple[str, ...] = ()
    rule_id: str
    reason: str
    remedy: str = ""
    suggested: str = ""
    digest: str = ""
    principal: str
    session_id: str = ""
    run_id: str = ""
    notebook: str = ""
    notebook_digest: str = ""
    cell_index: int | None = None
    line: int = 0
    source_line: str = ""
    untrusted: str = ""
    waiting: int = 1
    siblings: tuple[Sibling, ...] = ()
    problem: str = ""
    timeout_seconds: float = 300.0


class QuestionOver(ControlMessage, frozen=True, tag="question_over"):
    """Nobody waits for the answer to a question any more: its call was cancelled, or its time is up."""

    question_id: str
    reason: str = ""


class CallSettled(ControlMessage, frozen=True, tag="call_settled"):
    """A call is over. `outcome` is `"ok"` or the wire's error code."""

    call_id: str
    tool: str
    outcome: str
    cell_index: int | None = None
    duration_seconds: float = 0.0
    rule_id: str = ""


class HostToolRequest(ControlMessage, frozen=True, tag="host_tool_request"):
    """Run a tool that the host application provides. It has been decided and recorded."""

    call_id: str
    tool: str
    arguments: dict[str, Any]
    timeout_seconds: float


class HostToolCancel(ControlMessage, frozen=True, tag="host_tool_cancel"):
    """The call is over for the kernel; stop working on it."""

    call_id: str


class SecretRequest(ControlMessage, frozen=True, tag="secret_request"):
    """Read a secret from its source: a call that may have it has been decided and recorded."""

    name: str


class Ended(ControlMessage, frozen=True, tag="ended"):
    """The session's last words: why it ended (empty when asked to), its totals, and what came of its tapes.

    Attributes:
        tape_root: The finished tape's root hash; empty where none was recorded, or its end couldn't be.
        divergences: What a replay found to be otherwise than on the tape.
    """

    reason: str = ""
    calls: int = 0
    denied: int = 0
    tape_root: str = ""
    divergences: tuple[str, ...] = ()


ToSession = (
    Open | KernelStarting | CellStarted | CellSettled | Answer | HostToolReply | SecretReply | ProvideTools | End
)
ToHost = Ready | Refused | Asked | QuestionOver | CallSettled | HostToolRequest | HostToolCancel | SecretRequest | Ended

_TYPES: dict[str, type[ControlMessage]] = {
    kind.__struct_config__.tag: kind for kind in (*ToSession.__args__, *ToHost.__args__)
}


def encode(message: ControlMessage) -> bytes:
    """Give a message's bytes, length first."""
    body: bytes = msgpack.packb(msgspec.to_builtins(message))
    if len(body) > MAX_CONTROL_BYTES:
        raise SessionError(f"a control message of {len(body)} bytes is over the limit of {MAX_CONTROL_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, messages out: for a socket read in whatever pieces it gives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[ControlMessage]:
        """Take bytes and give the messages now complete.

        Raises:
            SessionError: Not a control message; the channel can't be used any more.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if size > MAX_CONTROL_BYTES:
                raise SessionError(f"a control message announces {size} bytes, over the limit of {MAX_CONTROL_BYTES}")
            if len(self._buffer) < _LENGTH.size + size:
                break
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
            del self._buffer[: _LENGTH.size + size]
            messages.append(_decode(body))
        return messages


def _decode(body: bytes) -> ControlMessage:
    try:
        fields = msgpack.unpackb(body)
        return msgspec.convert(fields, type=_TYPES[fields["type"]])
    except Exception as error:  # whatever the bytes were, they were not a control message
        raise SessionError(f"unreadable control message: {error}") from None


class Writer:
    """Messages out, without ever waiting for the reader: what doesn't fit into the socket stays here until `flush`.

    Thread-safe.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent = bytearray()
        self._lock = threading.Lock()

    @property
    def pending(self) -> int:
        """How many bytes are still here."""
        return len(self._unsent)

    def put(self, *messages: ControlMessage) -> None:
        """Send messages, now or with a later `flush`."""
        data = b"".join(map(encode, messages))
        with self._lock:
            self._unsent += data
        self.flush()

    def flush(self, timeout_seconds: float = 0.0) -> None:
        """Send as much as the socket takes; a reader that is gone is sent nothing more.

        Args:
            timeout_seconds: How long to wait for a reader that is slow.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            while self._unsent:
                try:
                    sent = self._channel.send(self._unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                    del self._unsent[:sent]
                except BlockingIOError:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or not select.select([], [self._channel], [], remaining)[1]:
                        return
                except OSError:  # closed: the reading side notices and ends the session
                    self._unsent.clear()


def send(channel: socket.socket, message: ControlMessage) -> None:
    """Write one message whole.

    Raises:
        SessionError: The other end is gone.
    """
    try:
        channel.sendall(encode(message))
    except OSError as error:
        raise SessionError(f"the control channel is closed: {error.strerror}") from error
