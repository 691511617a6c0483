"""Whether a call can change anything: what a resumed run must not make twice, and a plan doesn't make at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from host_bridge.policy.engine import decide
from host_bridge.policy.loading import Policy, load_policy
from host_bridge.policy.methods import METHOD_TOOLS, SAFE
from host_bridge.policy.model import Access, AccessRequest, CommandResource, Effect, PathResource, Resource

_WEB = frozenset({"web_search", "web_extract"})  # they ask and fetch, and send nothing but that
_LOOKING_AFTER = frozenset({"list", "poll", "log", "wait"})


class Effects:
    """Judges calls of one session.

    Args:
        workspace: Where commands run from. A command only looks if the profile `workspace` allows it: all commands in that
            profile do, and it says why nothing else is known to.
    """

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._looking: Policy | None = None

    def acts(self, tool: str, resources: tuple[Resource, ...], shown: Mapping[str, Any]) -> bool:
        """Whether a call may change something. True for what isn't known."""
        if tool in _WEB:
            return False
        if tool in METHOD_TOOLS:
            return shown.get("method") not in SAFE or "save_to" in shown
        if tool == "process":
            return shown.get("action") not in _LOOKING_AFTER
        return not resources or any(self._changes(resource) for resource in resources)

    def _changes(self, resource: Resource) -> bool:
        if isinstance(resource, PathResource):
            return resource.access is not Access.READ
        if isinstance(resource, CommandResource):
            if self._looking is None:
                self._looking = load_policy(profile="workspace", workspace=self._workspace)
            request = AccessRequest("", "terminal", (resource,))
            return decide(self._looking, request).effect is not Effect.ALLOW
        return True
