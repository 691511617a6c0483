"""Which of the things beneath an approved folder a call may look at."""

from __future__ import annotations

from host_bridge.errors import DeniedError
from host_bridge.policy.engine import DEFAULT
from host_bridge.policy.model import Access, PathResource
from host_bridge.policy.paths import ResolvedPath
from host_bridge.tools.interface import CallContext


class Reach:
    """Asks the policy about single files of a folder whose search or listing was approved as a whole.

    That approval covers what is in the folder, except where the policy says otherwise: a file that is denied by name, or that
    wildcards don't reach because it may hold secrets, stays out of sight whatever folder it is found through. Where a person
    approved the folder because a rule asks, the same rule asking about a file in it has been answered.
    """

    def __init__(self, context: CallContext, root: ResolvedPath) -> None:
        self._context = context
        self._root = root
        self._answered = {DEFAULT}
        try:
            context.authorise(root.resource(Access.READ))
        except DeniedError as error:
            self._answered.add(error.rule_id)

    def covers(self, path: str) -> bool:
        """Whether the call may look at `path`, relative to the root."""
        root = self._root
        relative = None if root.relative is None else f"{root.relative}/{path}".lstrip("/")
        resource = PathResource(f"{root.path.rstrip('/')}/{path}", relative, Access.READ)
        try:
            self._context.authorise(resource)
        except DeniedError as error:
            return error.rule_id in self._answered
        return True
