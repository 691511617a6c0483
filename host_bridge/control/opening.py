"""What a session is told when it opens. Nothing of it is read from the environment."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


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
