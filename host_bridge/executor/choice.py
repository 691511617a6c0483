"""Which kernel runs a notebook. The notebook may ask for one; it doesn't decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from host_bridge.errors import KernelChoiceError, KernelStartError
from host_bridge.executor.kernel import find_kernel, is_ours

DEFAULT_KERNEL = "hermes"


@dataclasses.dataclass(frozen=True, slots=True)
class KernelChoice:
    """A kernel, and what to say about the choice, if anything."""

    name: str
    warning: str = ""


def choose_kernel(metadata: Mapping[str, Any], asked_for: str | None = None) -> KernelChoice:
    """Choose the kernel that runs a notebook.

    Who runs it may name any. A notebook comes from anywhere: the kernel it names is taken only if it is installed here and
    starts with a bridge session of its own; otherwise ours is, and that is said.

    Raises:
        KernelChoiceError: The notebook is in a language that ours doesn't speak, or a kernel that was asked for isn't
            installed.
    """
    if asked_for:
        check_installed(asked_for)
        return KernelChoice(asked_for)
    named = _named_kernel(metadata)
    if named in ("", DEFAULT_KERNEL):
        return KernelChoice(DEFAULT_KERNEL)
    if _is_one_of_ours(named):
        return KernelChoice(named)
    language = language_of(metadata)
    if language and language != "python":
        raise KernelChoiceError(
            f"the notebook is written in {language!r} for the kernel {named!r}, and {DEFAULT_KERNEL!r} speaks Python; "
            "say which kernel to use (kernel_name=…, or -k on the command line)"
        )
    return KernelChoice(
        DEFAULT_KERNEL,
        f"the notebook asks for the kernel {named!r}, which has no bridge session: it runs in {DEFAULT_KERNEL!r}; "
        "say so (kernel_name=…, or -k on the command line) to use another",
    )


def check_installed(name: str) -> None:
    """Check that a kernel somebody asks for is there.

    Raises:
        KernelChoiceError: It isn't; the text names those that are.
        KernelStartError: It is the one that everything here is made for: no mistake of who asks, nothing works without it.
    """
    try:
        find_kernel(name)
    except KernelStartError as error:
        if name == DEFAULT_KERNEL:
            raise
        raise KernelChoiceError(str(error)) from None


def language_of(metadata: Mapping[str, Any]) -> str:
    """Give the language a notebook declares, in lower case; empty where it declares none."""
    for key, field in (("language_info", "name"), ("kernelspec", "language")):
        section = metadata.get(key)
        if isinstance(section, Mapping) and isinstance(section.get(field), str) and section[field]:
            return str(section[field]).lower()
    return ""


def _named_kernel(metadata: Mapping[str, Any]) -> str:
    spec = metadata.get("kernelspec")
    name = spec.get("name") if isinstance(spec, Mapping) else None
    return name if isinstance(name, str) else ""


def _is_one_of_ours(name: str) -> bool:
    try:
        return is_ours(find_kernel(name))
    except (KernelStartError, ValueError):  # a name from a notebook may be no name at all
        return False
