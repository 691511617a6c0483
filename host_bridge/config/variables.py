"""Variables of the environment: two that are ours, and those whose values must not travel."""

from __future__ import annotations

import fnmatch

CONFIG_VARIABLE = "HERMES_RUNTIME_CONFIG"
"""Names the configuration file to read instead of the user's own."""

PRINCIPAL_VARIABLE = "HERMES_RUNTIME_PRINCIPAL"
"""Names the agent (or person) that the sessions of this process act for."""

SECRET_NAME_PATTERNS = ("*TOKEN*", "*KEY*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*CREDENTIAL*")
"""Variables with such names are never passed on to commands by a pattern or a plain name."""


def sounds_secret(name: str) -> bool:
    """Whether a variable's name says that its value should not travel."""
    return any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in SECRET_NAME_PATTERNS)
