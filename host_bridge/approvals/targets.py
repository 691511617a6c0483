"""What a call would touch, as text for a question. Not escaped: whoever shows it does that."""

from __future__ import annotations

from host_bridge.policy.methods import shown_method
from host_bridge.policy.model import CommandResource, PathResource, Resource, TextResource, UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS
from host_bridge.policy.remedies import quoted

MAX_TARGETS = 64  # a command line has at most 32 commands


def targets_of(resources: tuple[Resource, ...]) -> tuple[str, ...]:
    """Give each resource as text; what is beyond the limit is counted."""
    shown = tuple(map(target_of, resources[:MAX_TARGETS]))
    left_out = len(resources) - len(shown)
    return (*shown, f"and {left_out} more") if left_out else shown


def target_of(resource: Resource) -> str:
    """Give one canonical resource as text."""
    match resource:
        case PathResource():
            return f"{resource.access.value} {resource.path}"
        case CommandResource(argv=None):
            return f"run in {resource.folder}, not understood: {resource.text}"
        case CommandResource():
            return f"run in {resource.folder}: {' '.join(map(quoted, resource.argv or ()))}"
        case UrlResource():
            host = f"[{resource.host}]" if ":" in resource.host else resource.host
            port = "" if DEFAULT_PORTS.get(resource.scheme) == resource.port else f":{resource.port}"
            return f"{shown_method(resource)}{resource.scheme}://{host}{port}{resource.path}"
        case TextResource():
            return resource.text
