"""What the user has set for all sessions: one TOML file, read into one declared shape.

    [session]      profile, principal, ask_timeout_seconds, ready_timeout_seconds, memory_bytes
    [policy]       files
    [declarations] unknown, trusted_paths
    [audit]        folder, arguments, heads, rotate_bytes
    [approvals]    headless, park_seconds
    [runs]         kept_tapes
    [budgets]      calls, concurrent_calls, pending_asks, bytes, bytes_out, bytes_in, seconds, wall_seconds, tools, agents
    [environment]  pass, set
    [bridge]       socket
    [sandbox]      backend, workspace, network, read_only_paths, writable_paths, pass, set, temporary_bytes
    [limits]       memory_bytes, processes, cpus, cpu_seconds, file_bytes, open_files, output_bytes, mechanism, cgroup
    [secrets.NAME] source, tools, hosts
    [tools.NAME]   whatever the tool of that name declares

The file lies in the user's configuration folder unless `HERMES_RUNTIME_CONFIG` names another. It carries authority, so an
unknown key is an error rather than a setting that silently does nothing.
"""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import platformdirs
from msgspec import Meta

from host_bridge.budgets import MEANINGS, TOOL_PREFIX, check_limits
from host_bridge.errors import ConfigurationError

CONFIG_VARIABLE = "HERMES_RUNTIME_CONFIG"
"""Names the configuration file to read instead of the user's own."""

PRINCIPAL_VARIABLE = "HERMES_RUNTIME_PRINCIPAL"
"""Names the agent (or person) that the sessions of this process act for."""

SECRET_NAME_PATTERNS = ("*TOKEN*", "*KEY*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*CREDENTIAL*")
"""Variables with such names are never passed on to commands by a pattern or a plain name."""

MAX_CONFIG_BYTES = 2**20  # ours is a page; a file a thousand times longer is some other file
_APPLICATION = "hermes-runtime"
_FIELD_IN_ERROR = re.compile(r" - at `\$\.?(?P<field>.*)`$")
_SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_FILE_SOURCE = "file:"
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]*)`")

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


def config_folder() -> Path:
    """The user's configuration folder. It need not exist."""
    return platformdirs.user_config_path(_APPLICATION, appauthor=False)


def state_folder() -> Path:
    """The user's state folder. It need not exist."""
    return platformdirs.user_state_path(_APPLICATION, appauthor=False)


def config_path() -> Path:
    """The configuration file in force. It need not exist unless `HERMES_RUNTIME_CONFIG` names it."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else config_folder() / "config.toml"


def audit_folder(config: HostConfig) -> Path:
    """The folder audit logs go to, one file per session. It need not exist."""
    return Path(config.audit.folder) if config.audit.folder else state_folder() / "audit"


def audit_heads(config: HostConfig) -> Path:
    """The file in which logs' heads are kept. It need not exist."""
    return Path(config.audit.heads) if config.audit.heads else state_folder() / "audit-heads.jsonl"


def load_config(path: str | os.PathLike[str] | None = None) -> HostConfig:
    """Read the configuration.

    Args:
        path: A file that must exist; None for the one in force, which may be absent unless it was named.

    Returns:
        The settings, with every path in them absolute.

    Raises:
        ConfigurationError: The file can't be read or used; `.path` and `.key` say where.
    """
    chosen = Path(path) if path is not None else config_path()
    must_exist = path is not None or CONFIG_VARIABLE in os.environ
    text = _read(chosen, must_exist)
    return HostConfig() if text is None else _parse(text, chosen)


def sounds_secret(name: str) -> bool:
    """Whether a variable's name says that its value should not travel."""
    return any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in SECRET_NAME_PATTERNS)


def _read(path: Path, must_exist: bool) -> str | None:
    try:
        with open(path, "rb") as file:
            _check_ownership(os.fstat(file.fileno()), path)
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(
                f"{path}: no such configuration file; create it or unset {CONFIG_VARIABLE}", path=str(path)
            ) from None
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}", path=str(path)) from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigurationError(f"{path}: over {MAX_CONFIG_BYTES} bytes; is it the right file?", path=str(path))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8", path=str(path)) from None


def _check_ownership(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path}: not a regular file", path=str(path))
    # Whoever can write here decides what every session may do.
    if status.st_mode & stat.S_IWOTH:
        raise ConfigurationError(f"{path}: anybody may write it; run: chmod o-w {path}", path=str(path))


def _parse(text: str, path: Path) -> HostConfig:
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}", path=str(path)) from None
    try:
        config = msgspec.convert(fields, type=HostConfig)
    except msgspec.ValidationError as error:
        raise _explain(error, path) from None
    for table, names in (("environment", config.environment.pass_names), ("sandbox", config.sandbox.pass_names)):
        for name in names:
            if sounds_secret(name):
                raise ConfigurationError(
                    f"{path}: {table}.pass: {name} sounds like a secret; if it must be known there, give it in "
                    f"[{table}.set]",
                    path=str(path),
                    key=f"{table}.pass",
                )
    for name in config.secrets:
        if not _SECRET_NAME.fullmatch(name):
            raise ConfigurationError(
                f"{path}: secrets: {name!r} is no name of a secret; write letters, digits and _",
                path=str(path),
                key=f"secrets.{name}",
            )
    return _absolute(config, path.absolute().parent)


def _explain(error: msgspec.ValidationError, path: Path) -> ConfigurationError:
    text = str(error)
    place = _FIELD_IN_ERROR.search(text)
    key = place["field"] if place else ""
    problem = text[: place.start()] if place else text
    unknown = _UNKNOWN_FIELD.search(problem)
    if unknown:
        key = f"{key}.{unknown['name']}" if key else unknown["name"]
        near = difflib.get_close_matches(unknown["name"], _known_keys(place["field"] if place else ""), n=1)
        problem = f"unknown key; did you mean {near[0]}?" if near else "unknown key; remove it or correct its spelling"
    elif choices := get_args(_kind_of(key)) if problem.startswith("Invalid enum value") else ():
        problem += f"; choose one of {', '.join(map(repr, choices))}"
    return ConfigurationError(f"{path}: {key}: {problem}", path=str(path), key=key)


def _known_keys(table: str) -> tuple[str, ...]:
    """Give the keys of a table by its dotted name; nothing for one there isn't, or whose keys are free."""
    kind = _kind_of(table)
    return tuple(field.encode_name for field in msgspec.structs.fields(kind)) if _is_table(kind) else ()


def _kind_of(key: str) -> Any:
    """Give the type of what a dotted key names; None where nothing is declared."""
    kind: Any = HostConfig
    for name in filter(None, key.split(".")):
        if not _is_table(kind):
            return None
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}.get(name)
    return kind


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _absolute(config: HostConfig, folder: Path) -> HostConfig:
    def resolve(text: str) -> str:
        return str(folder / Path(text).expanduser()) if text else text

    def resolve_source(secret: SecretSettings) -> SecretSettings:
        place = secret.source.removeprefix(_FILE_SOURCE)
        if place == secret.source:
            return secret
        return msgspec.structs.replace(secret, source=f"{_FILE_SOURCE}{resolve(place)}")

    return msgspec.structs.replace(
        config,
        secrets={name: resolve_source(secret) for name, secret in config.secrets.items()},
        policy=msgspec.structs.replace(config.policy, files=tuple(resolve(name) for name in config.policy.files)),
        declarations=msgspec.structs.replace(
            config.declarations, trusted_paths=tuple(resolve(name) for name in config.declarations.trusted_paths)
        ),
        audit=msgspec.structs.replace(
            config.audit, folder=resolve(config.audit.folder), heads=resolve(config.audit.heads)
        ),
        bridge=msgspec.structs.replace(config.bridge, socket=resolve(config.bridge.socket)),
        limits=msgspec.structs.replace(config.limits, cgroup=resolve(config.limits.cgroup)),
        sandbox=msgspec.structs.replace(
            config.sandbox,
            read_only_paths=tuple(resolve(name) for name in config.sandbox.read_only_paths),
            writable_paths=tuple(resolve(name) for name in config.sandbox.writable_paths),
        ),
    )
