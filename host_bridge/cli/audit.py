"""`audit`: reading what was done, and checking that nothing of it was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from host_bridge.cli.options import debug_option, json_option
from host_bridge.cli.output import print_json, table


@click.group("audit")
def audit_command() -> None:
    """Show and verify audit logs."""


@audit_command.command("show")
@click.argument("log", required=False)
@json_option
@debug_option
def show(log: str | None, as_json: bool) -> None:
    """Show the records of LOG, by default of the latest session."""
    from host_bridge.audit.log import read
    from host_bridge.policy.display import one_line


@audit_command.command("verify")
@click.argument("log", required=False)
@json_option
@debug_option
def verify(log: str | None, as_json: bool) -> None:
    """Check that no record of LOG was changed, removed or reordered. Exits with 1 if one was."""


def latest_log() -> Path:
    """Give the log written to last.

    Raises:
        click.UsageError: There is none.
    """
    from host_bridge.config import audit_folder, load_config

    folder = audit_folder(load_config())
    logs = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime) if folder.is_dir() else []
    if not logs:
        raise click.UsageError(f"no audit log in {folder}; name one, or run a notebook first")
    return logs[-1]
