"""The configuration's tables and keys, with what they are where the file says nothing."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from host_bridge.budgets import MEANINGS, TOOL_PREFIX, check_limits

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Limit = Annotated[float, Meta(ge=0)]
Bound = Annotated[int, Meta(ge=0, le=2**50)]  # 0 for none


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all tables share."""


class SessionSettings(_Table, frozen=True):
    """How sessions start.

    Attributes:
        profile: The policy profile: `read-only`, `workspace` or `full`.
        principal: Whom sessions act for when nobody says.
        ask_timeout_seconds: How long a question waits for a person before it counts as a no.
        ready_timeout_seconds: How long a session process may take to be ready.
        memory_bytes: What a session process may hold before it ends itself.
    """

    profile: str = "workspace"
    principal: Annotated[str, Meta(min_length=1, max_length=256)] = "default"
    ask_timeout_seconds: Seconds = 300.0
    ready_timeout_seconds: Seconds = 30.0
    memory_bytes: Annotated[int, Meta(ge=64 * 2**20)] = 512 * 2**20


class PolicySettings(_Table, frozen=True):
    """Rules beyond the profile's. `files` may start with `~`; relative ones start at the configuration file's folder."""

    files: tuple[str, ...] = ()


class DeclarationSettings(_Table, frozen=True):
    """What happens to a notebook whose declared needs no person has accepted, where nobody can be asked.

    Attributes:
        unknown: `"run"` it under its declaration, which narrows, with every `ask` a denial; or `"refuse"` to.
        trusted_paths: Folders (or notebooks) that need no review. Where a rule asks, it asks for them too.
    """

    unknown: Literal["run", "refuse"] = "run"
    trusted_paths: tuple[str, ...] = ()


class AuditSettings(_Table, frozen=True):
    """Where records go.

    Attributes:
        folder: The folder of the logs; empty for `audit` in the user's state folder.
        arguments: `"digest"` keeps arguments out.
        heads: The file in which the logs' last hashes are kept, outside of the folder; empty for `audit-heads.jsonl` in the
            user's state folder.
        rotate_bytes: The size beyond which a log goes on in another file; 0 for never.
    """

    folder: str = ""
    arguments: Literal["full", "digest"] = "full"
    heads: str = ""
    rotate_bytes: Bound = 64 * 2**20


class ApprovalSettings(_Table, frozen=True):
    """What becomes of a rule that says `ask` where nobody sits at a terminal.

    Attributes:
        headless: `"deny"` is a no that names the rule; `"park"` has the run wait for an answer in the inbox.
        park_seconds: How long it waits there.
    """

    headless: Literal["deny", "park"] = "deny"
    park_seconds: Seconds = 86_400.0


class RunSettings(_Table, frozen=True):
    """What is kept of runs.

    Attributes:
        kept_tapes: How many tapes are kept of earlier runs to the same output; 0 for none.
    """

    kept_tapes: Annotated[int, Meta(ge=0, le=100_000)] = 20


class BudgetTable(_Table, frozen=True):
    """Limits of what one session may use up; `host_bridge.budgets.MEANINGS` says what they count. None is no limit.

    Attributes:
        tools: Limits for calls of one tool, by its name.
    """

    calls: Limit | None = None
    concurrent_calls: Limit | None = None
    pending_asks: Limit | None = None
    bytes: Limit | None = None
    bytes_out: Limit | None = None
    bytes_in: Limit | None = None
    seconds: Limit | None = None
    wall_seconds: Limit | None = None
    tools: dict[str, Limit] = {}

    def limits(self) -> dict[str, float]:
        """Give the limits that are set, by the names sessions know them by."""
        named = {name: getattr(self, name) for name in MEANINGS}
        return check_limits({**named, **{TOOL_PREFIX + tool: limit for tool, limit in self.tools.items()}})


class BudgetSettings(BudgetTable, frozen=True):
    """What one session may use up.

    Attributes:
        agents: Further limits for sessions of one principal. The lower one counts.
    """

    agents: dict[str, BudgetTable] = {}


class EnvironmentSettings(_Table, frozen=True, rename={"pass_names": "pass"}):
    """The variables that commands get beyond the few harmless ones.

    Attributes:
        pass_names: Names taken from the host's environment; `pass` in the file.
        set: Values given outright. The only way to hand a command something whose name sounds like a secret.
    """

    pass_names: tuple[str, ...] = ()
    set: dict[str, str] = {}


class BridgeSettings(_Table, frozen=True):
    """Where sessions run. With `socket`, a supervisor at that path starts them; without, the provisioner itself does."""

    socket: str = ""


class SandboxSettings(_Table, frozen=True, rename={"pass_names": "pass"}):
    """How kernels are confined.

    Attributes:
        backend: `"auto"` is the strongest that works here; `"none"` has to be said.
        workspace: Whether a kernel may change its workspace. The profile `read-only` makes it `"read"`.
        network: `"none"`, or `"full"` for the host's own.
        read_only_paths: What kernels may read besides: data sets, packages.
        writable_paths: What they may change besides.
        pass_names: Variables of the host that kernels get beyond the few harmless ones; `pass` in the file.
        set: Variables given outright.
        temporary_bytes: How much a kernel's /tmp holds, and its /dev/shm.
    """

    backend: Literal["auto", "bubblewrap", "landlock", "none"] = "auto"
    workspace: Literal["write", "read"] = "write"
    network: Literal["none", "full"] = "none"
    read_only_paths: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    pass_names: tuple[str, ...] = ()
    set: dict[str, str] = {}
    temporary_bytes: Annotated[int, Meta(ge=2**20, le=2**40)] = 256 * 2**20


class LimitSettings(_Table, frozen=True):
    """How much of the machine one kernel may use, with all it starts. 0 is no limit of that kind.

    Attributes:
        memory_bytes: Of memory, files in memory included. Binder gives 2 GiB, SageMaker's smallest notebook 4, Colab 12.
        processes: Threads count, as they do for the system. Kubernetes nodes are often set to 1,024 for a pod.
        cpus: Processors' worth of time. No limit by default: a group gets no more than its share from a busy system anyway.
        cpu_seconds: Processor time of each process.
        file_bytes: Of each file; the workspace as a whole has no limit.
        open_files: Of each process. Debian's own hard limit is 1,048,576, which lets a loop use up the system's.
        output_bytes: What one cell may print, and again display, before the kernel leaves out the rest.
        mechanism: `"auto"` is the best that works here.
        cgroup: The folder of a control group (version 2) that was delegated to the user; empty to look for one.
    """

    memory_bytes: Bound = 4 * 2**30
    processes: Bound = 1024
    cpus: Annotated[float, Meta(ge=0, le=4096)] = 0.0
    cpu_seconds: Bound = 0
    file_bytes: Bound = 16 * 2**30
    open_files: Bound = 4096
    output_bytes: Bound = 50 * 2**20
    mechanism: Literal["auto", "systemd", "cgroup v2", "cgroup v1", "rlimits"] = "auto"
    cgroup: str = ""


class SecretSettings(_Table, frozen=True):
    """One secret that notebooks may use by its name, and where it may go; see docs/secrets.md.

    Attributes:
        source: `env:NAME`, `file:PATH` or `keyring:SERVICE/USER`; read when a call needs it.
        tools: Rules that mean the calls that may be given it. None are by default.
        hosts: For calls that name URLs, the hosts that may be sent it.
    """

    source: str
    tools: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class HostConfig(_Table, frozen=True):
    """The whole file. Every table and every key may be absent."""

    session: SessionSettings = SessionSettings()
    policy: PolicySettings = PolicySettings()
    declarations: DeclarationSettings = DeclarationSettings()
    audit: AuditSettings = AuditSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    runs: RunSettings = RunSettings()
    budgets: BudgetSettings = BudgetSettings()
    environment: EnvironmentSettings = EnvironmentSettings()
    bridge: BridgeSettings = BridgeSettings()
    sandbox: SandboxSettings = SandboxSettings()
    limits: LimitSettings = LimitSettings()
    secrets: dict[str, SecretSettings] = {}
    tools: dict[str, dict[str, Any]] = {}
