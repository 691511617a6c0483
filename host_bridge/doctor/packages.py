"""Which Python this is, and whether the distribution's requirements are met in it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from host_bridge.doctor.finding import Finding, failure, ok

DISTRIBUTION = "hermes-runtime"
_SHOWN = ("ipykernel", "jupyter-client", "papermill", "nbclient", "pyzmq", "msgpack", "msgspec", "hermes-agent")


def examine() -> Iterator[Finding]:
    """Look at the interpreter and the installed distributions."""
    yield ok("python", f"{platform.python_version()} at {sys.executable}", version=platform.python_version())
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield failure(
            "packages", f"{DISTRIBUTION} is importable but not installed", "run `pip install .` in its folder"
        )
        return
    problems = [problem for text in requirements if (problem := unmet(text))]
    versions = _versions()
    if problems:
        remedy = f"run `{sys.executable} -m pip install --upgrade {DISTRIBUTION}`"
        yield failure("packages", "; ".join(problems), remedy, versions=versions)
    else:
        yield ok("packages", ", ".join(f"{name} {version}" for name, version in versions.items()), versions=versions)


def unmet(text: str) -> str:
    """Say what is wrong with one requirement of the distribution's, nothing if it is met or doesn't apply here."""
    requirement = Requirement(text)
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} doesn't fit {requirement.specifier}"
    return ""


def _versions() -> dict[str, str]:
    installed = {
        str(canonicalize_name(one.name)): one.version for one in importlib.metadata.distributions() if one.name
    }
    return {name: installed[name] for name in (DISTRIBUTION, *_SHOWN) if name in installed}
