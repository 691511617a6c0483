"""Importing the Jupyter stack without its two-second detour."""

from __future__ import annotations

import importlib
import sys


def import_jsonschema_lightly() -> None:
    """Import jsonschema without the grammar it compiles at import.

    Where `rfc3987_syntax` is installed (jupyter_server brings it), jsonschema imports it to check IRIs, and it compiles its
    grammar then and there: about 2 s of every start of a program that imports nbformat. Notebooks hold no IRIs to check,
    and jsonschema does without it when its import fails. Whoever imported jsonschema earlier keeps what they have.
    """
    if "jsonschema" in sys.modules or "rfc3987_syntax" in sys.modules:
        return
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # Python's own way to say "not to be found"
    try:
        importlib.import_module("jsonschema")
    finally:
        del sys.modules["rfc3987_syntax"]  # others may want it, and pay for it
