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

tables     the declared shape
places     where the file is, and what else of the user's lies where
variables  of the environment: ours, and those that must not travel
reading    from the file to the shape
misfits    what doesn't fit it, in words
"""

from host_bridge.config.places import audit_folder, audit_heads, config_folder, config_path, state_folder
from host_bridge.config.reading import MAX_CONFIG_BYTES, load_config
from host_bridge.config.tables import (
    ApprovalSettings,
    AuditSettings,
    BridgeSettings,
    BudgetSettings,
    BudgetTable,
    DeclarationSettings,
    EnvironmentSettings,
    HostConfig,
    LimitSettings,
    PolicySettings,
    RunSettings,
    SandboxSettings,
    SecretSettings,
    SessionSettings,
)
from host_bridge.config.variables import CONFIG_VARIABLE, PRINCIPAL_VARIABLE, sounds_secret

__all__ = [
    "CONFIG_VARIABLE",
    "MAX_CONFIG_BYTES",
    "PRINCIPAL_VARIABLE",
    "ApprovalSettings",
    "AuditSettings",
    "BridgeSettings",
    "BudgetSettings",
    "BudgetTable",
    "DeclarationSettings",
    "EnvironmentSettings",
    "HostConfig",
    "LimitSettings",
    "PolicySettings",
    "RunSettings",
    "SandboxSettings",
    "SecretSettings",
    "SessionSettings",
    "audit_folder",
    "audit_heads",
    "config_folder",
    "config_path",
    "load_config",
    "sounds_secret",
    "state_folder",
]
