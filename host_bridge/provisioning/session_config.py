"""From the user's configuration and a host application's options to one session's whole configuration.

Who may say what: the host application (`LaunchOptions`) speaks for the user, then the process's environment, then the
configuration file. A kernel spec and a notebook can come from elsewhere, so they may narrow and nothing else.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host_bridge.approvals.store import grants_path
from host_bridge.budgets import check_limits, strictest
from host_bridge.config import PRINCIPAL_VARIABLE, HostConfig, audit_folder, audit_heads, config_folder
from host_bridge.control import SecretUse, SessionConfig, TapeOrders
from host_bridge.declarations.accepted import accepted_path
from host_bridge.errors import AuditError, ConfigurationError
from host_bridge.provisioning.declared_needs import DeclaringNotebook, is_accepted, lowered_budgets
from host_bridge.provisioning.environment import command_environment
from host_bridge.provisioning.options import LaunchOptions
from host_bridge.secrets.sources import check_source

PROFILES = ("read-only", "workspace", "full")
"""Narrowest first."""

SYSTEM_POLICY = Path("/etc/hermes-runtime/policy.toml")
"""The machine's rules: they only narrow. Used when the file exists, as are the next two."""
USER_POLICY = "policy.toml"
"""In the configuration folder: the user's own rules."""
PROJECT_POLICY = "hermes.toml"
"""In the workspace: what the project wants narrowed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known about one launch that neither the user nor the application had to say.

    Attributes:
        endpoint: The ZeroMQ address the session shall bind.
        server_keys: The session's CURVE key pair, public and secret, Z85 text.
        cwd: The kernel's working directory.
        kernelspec_profile: The profile a kernel spec names; it can only narrow.
        notebook: The notebook a Jupyter server says the kernel is for.
        notebook_permissions: What that notebook declares; None for nothing.
        notebook_digest: Names its source.
        interactive: Whether a person can be asked.
        confinement: How the kernel is confined.
        dials: Whether the session dials in to the kernel.
        kernel_limits: What of the machine it may use.
    """

    endpoint: str
    server_keys: tuple[str, str]
    cwd: str
    kernelspec_profile: str = ""
    notebook: str = ""
    notebook_permissions: Mapping[str, Any] | None = None
    notebook_digest: str = ""
    interactive: bool = False
    confinement: str = "none"
    dials: bool = False
    kernel_limits: str = ""


def session_config(
    host: HostConfig, options: LaunchOptions, given: Circumstances, environment: Mapping[str, str]
) -> SessionConfig:
    """Give the configuration of one session.

    Args:
        host: The user's configuration.
        options: What the host application says.
        given: What the launch itself says.
        environment: The host process's variables.

    Raises:
        ConfigurationError: The workspace isn't a folder, or a profile, a budget or the notebook's declaration has no meaning.
        DeclarationError: Nobody accepted what the notebook declares, and the configuration asks for that.
        AuditError: The folder for audit logs can't be made.
    """
    session_id = new_session_id()
    workspace = _workspace(options.workspace or given.cwd)
    permissions = options.notebook_permissions
    if permissions is None:
        permissions = given.notebook_permissions
    principal = options.principal or environment.get(PRINCIPAL_VARIABLE) or host.session.principal
    notebook = DeclaringNotebook(
        path=options.notebook or given.notebook,
        digest=options.notebook_digest or given.notebook_digest,
        permissions=permissions,
        accepted_digest=options.accepted_digest,
    )
    tools, keys = _with_keys(host.tools, environment)
    return SessionConfig(
        session_id=session_id,
        endpoint=given.endpoint,
        server_public_key=given.server_keys[0],
        server_secret_key=given.server_keys[1],
        workspace=workspace,
        principal=principal,
        profile=narrower(options.profile or host.session.profile, given.kernelspec_profile),
        policy_paths=policy_paths(host, workspace, options.policy_files),
        policy_texts=(("run", options.policy_rules),) if options.policy_rules else (),
        notebook=notebook.path,
        notebook_permissions=None if permissions is None else dict(permissions),
        declaration_accepted=is_accepted(host, notebook, principal),
        notebook_digest=notebook.digest,
        accepted_path=str(accepted_path()),
        grants_path=str(grants_path()),
        user_policy_path=str(config_folder() / USER_POLICY),
        run_id=options.run_id,
        confinement=given.confinement,
        dials=given.dials,
        kernel_limits=given.kernel_limits,
        # The session process works in another folder, where a relative path would mean another file.
        audit_path=str(Path(options.audit_path).absolute() if options.audit_path else _audit_path(host, session_id)),
        audit_arguments=host.audit.arguments,
        audit_heads=str(audit_heads(host).absolute()),
        audit_rotate_bytes=host.audit.rotate_bytes,
        secrets=(*options.secrets, *keys),
        secret_uses=_secret_uses(host),
        tool_settings=tools,
        environment=command_environment(environment, host.environment),
        host_tools=tuple(tool.name for tool in options.tools),
        budgets=lowered_budgets(_budgets(host, options, principal), permissions),
        interactive=given.interactive,
        ask_timeout_seconds=options.ask_timeout_seconds or host.session.ask_timeout_seconds,
        marks_cells=options.marks_cells,
        memory_bytes=host.session.memory_bytes,
        tape=options.tape if given.confinement == "none" else _tape(options.tape, workspace),
    )


def _with_keys(
    tools: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Put what a table's `api_key_env` names into its `api_key`: a session process doesn't get the host's variables.

    Returns:
        The tables, and the keys, which no record may show.
    """
    filled = {name: dict(table) for name, table in tools.items()}
    keys = []
    for table in filled.values():
        variable = table.get("api_key_env")
        if isinstance(variable, str) and (key := environment.get(variable, "").strip()):
            table["api_key"] = key
            keys.append(key)
    return filled, tuple(keys)


def _secret_uses(host: HostConfig) -> tuple[SecretUse, ...]:
    """Give where secrets may go; where they are is the host application's to know."""
    for name, secret in host.secrets.items():
        if problem := check_source(secret.source):
            raise ConfigurationError(f"[secrets.{name}] source: {problem}", key=f"secrets.{name}.source")
    return tuple(SecretUse(name=name, tools=secret.tools, hosts=secret.hosts) for name, secret in host.secrets.items())


def new_session_id() -> str:
    """Give a name no other session has; sorts by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"


def narrower(profile: str, wish: str) -> str:
    """Give the narrower of a profile in force and a wish from a kernel spec; an empty wish changes nothing.

    Raises:
        ConfigurationError: There is no such profile to wish for.
    """
    if not wish:
        return profile
    if wish not in PROFILES:
        raise ConfigurationError(
            f"the kernel spec names the profile {wish!r}; there are: {', '.join(PROFILES)}",
            key="metadata.kernel_provisioner.config.profile",
        )
    # A profile that isn't known here fails when the policy is loaded; it must not be replaced by a wider one before that.
    return wish if profile in PROFILES and PROFILES.index(wish) < PROFILES.index(profile) else profile


def policy_paths(host: HostConfig, workspace: str, further: Sequence[str] = ()) -> tuple[tuple[str, str], ...]:
    """Give the policy files of a session as `(layer, path)`, most trusted first.

    Args:
        host: The user's configuration.
        workspace: The folder the session works in.
        further: Files the host application names.
    """
    named = [("user", path) for path in host.policy.files]
    run = [("run", str(Path(path).expanduser().absolute())) for path in further]
    return (
        *_if_present("system", standard_policy("system", workspace)),
        *_if_present("user", standard_policy("user", workspace)),
        *named,
        *run,
        *_if_present("project", standard_policy("project", workspace)),
    )


def standard_policy(layer: str, workspace: str | os.PathLike[str]) -> Path:
    """Give where the policy file of a layer (`system`, `user`, `project`) is looked for."""
    if layer == "system":
        return SYSTEM_POLICY
    return config_folder() / USER_POLICY if layer == "user" else Path(workspace, PROJECT_POLICY)


def layer_of(path: Path) -> str:
    """Say what sessions would read a policy file as."""
    if path == SYSTEM_POLICY:
        return "system"
    return "project" if path.name == PROJECT_POLICY else "user"


def _if_present(layer: str, path: Path) -> tuple[tuple[str, str], ...]:
    # A link to nowhere counts: whoever put it meant rules, and without them nothing should start.
    return ((layer, str(path)),) if os.path.lexists(path) else ()


def _workspace(path: str) -> str:
    resolved = os.path.realpath(Path(path).expanduser())
    if not Path(resolved).is_dir():
        raise ConfigurationError(f"the workspace {resolved} is not a folder; create it or name another", path=resolved)
    return resolved


def _audit_path(host: HostConfig, session_id: str) -> Path:
    folder = audit_folder(host)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AuditError(
            f"the folder for audit logs {folder} can't be made: {error.strerror}; set audit.folder in the configuration"
        ) from error
    return folder / f"{session_id}.jsonl"


def _tape(orders: TapeOrders, workspace: str) -> TapeOrders:
    """Keep the tape that is being written out of reach of whoever it is about. An unconfined kernel reaches everything."""
    if orders.path and Path(os.path.realpath(orders.path)).is_relative_to(workspace):
        raise ConfigurationError(
            f"the state folder lies in the workspace {workspace}, where a kernel could change the run's tape ({orders.path}); "
            "use another workspace, set XDG_STATE_HOME to a folder elsewhere, or run with --no-tape",
            path=orders.path,
        )
    return orders


def _budgets(host: HostConfig, options: LaunchOptions, principal: str) -> dict[str, float]:
    """Give the limits in force: the host application's over the configuration's, and never above the agent's own."""
    general = {**host.budgets.limits(), **check_limits(options.budgets)}
    own = host.budgets.agents.get(principal)
    return general if own is None else strictest(general, own.limits())
