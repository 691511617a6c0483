"""Where a tool may go, as far as no look-up is needed to say so; what a name leads to is checked when it is looked up."""

from __future__ import annotations

import dataclasses

from host_bridge.errors import DeniedError
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import bracketed, is_local_name


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """What the host's configuration says.

    Attributes:
        tool: Whose settings they are.
        ports: Which ports may be used.
        allow_private: `host:port` of services that may be used though they are on this machine or network.
    """

    tool: str
    ports: tuple[int, ...]
    allow_private: tuple[str, ...]

    def check(self, url: UrlResource) -> None:
        """Refuse what no look-up could make right.

        Raises:
            DeniedError: A port that isn't allowed, or this machine.
        """
        if self.are_allowed(url):
            return
        place = f"{bracketed(url.host)}:{url.port}"
        remedy = f'an administrator can set allow_private = ["{place}"] in [tools.{self.tool}]'
        rule_id = f"{self.tool}:address"
        if url.port not in self.ports:
            allowed = ", ".join(map(str, self.ports))
            raise DeniedError(f"port {url.port} of {url.host} is not one of {allowed}", rule_id=rule_id, remedy=remedy)
        if is_local_name(url.host):
            raise DeniedError(f"{url.host} is not on the public internet", rule_id=rule_id, remedy=remedy)

    def are_allowed(self, url: UrlResource) -> bool:
        """Whether a URL is of a service that is named."""
        return f"{bracketed(url.host)}:{url.port}" in self.allow_private
