"""What every message of the control channel is."""

from __future__ import annotations

import msgspec


class ControlMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all control messages share."""
