"""Where the user's configuration is, and the folders that hold what is kept from one session to the next."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from host_bridge.config.tables import HostConfig
from host_bridge.config.variables import CONFIG_VARIABLE

_APPLICATION = "hermes-runtime"


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
