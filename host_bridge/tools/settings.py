"""A tool's own table of the host's configuration, checked."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from host_bridge.config.misfits import misfit
from host_bridge.errors import NotConfiguredError
from host_bridge.tools.interface import Session

Settings = TypeVar("Settings", bound=msgspec.Struct)


def read_settings(session: Session, tool: str, kind: type[Settings]) -> Settings:
    """Give `[tools.<tool>]` as a `kind`.

    Raises:
        NotConfiguredError: It holds something `kind` doesn't; names the key.
    """
    try:
        return msgspec.convert(dict(session.settings.get(tool, {})), type=kind)
    except msgspec.ValidationError as error:
        raise NotConfiguredError(
            f"[tools.{tool}] of the host's configuration can't be used: {misfit(error, kind, f'tools.{tool}')[1]}",
            remedy=f"correct [tools.{tool}] in the host's configuration file",
        ) from None
