"""Where a secret may go: the rules and hosts that the host's configuration names for it. Pure.

Fails closed: what is not named gets nothing. Neither a project's file nor a notebook can name anything here.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

from host_bridge.control import SecretUse
from host_bridge.errors import ConfigurationError, DeniedError, InvalidCallError
from host_bridge.policy.engine import decide
from host_bridge.policy.floor import Floor
from host_bridge.policy.layers import Layer, Policy, Role
from host_bridge.policy.methods import judged_as
from host_bridge.policy.model import AccessRequest, Effect, Resource, UrlResource
from host_bridge.policy.origins import DEFAULT_PORTS, bracketed, is_loopback, parse_url
from host_bridge.policy.patterns import EVERY_TOOL, PatternError, parse_rule
from host_bridge.policy.rules import Clause, Rule

Origin = tuple[str, str, int]
"""Scheme, host and port."""


class Use:
    """Where one secret may go.

    Args:
        spec: As the host application says it.
        principal: Whom the session acts for.
        workspace: The session's; a rule with a pattern means commands in it only.

    Raises:
        ConfigurationError: A rule or host that can't be meant; `.key` names it.
    """

    def __init__(self, spec: SecretUse, *, principal: str, workspace: str) -> None:
        self.name = spec.name
        self._key = f"secrets.{spec.name}"
        self._principal = principal
        self._origins = frozenset(self._origin(host) for host in spec.hosts)
        try:
            rules = [Rule(text, Clause.ALLOW, self._key, f"tools[{index}]") for index, text in enumerate(spec.tools)]
            self.tools = frozenset(parse_rule(rule.text).tool for rule in rules)
            authority = Layer(self._key, Role.AUTHORITY, rules)
        except PatternError as error:
            raise ConfigurationError(f"[{self._key}] tools: {error}", key=f"{self._key}.tools") from None
        if EVERY_TOOL in self.tools:
            raise ConfigurationError(
                f"[{self._key}] tools: {EVERY_TOOL!r} would give the secret to every tool; name the tools",
                key=f"{self._key}.tools",
            )
        # The same reading of rules as the policy's own, with nothing else that could allow anything.
        self._policy = Policy(
            principal=principal,
            profile="",
            authority=authority,
            constraints=(),
            floor=Floor(),
            workspace=workspace,
            digest="",
            sources=(),
        )

    def check(self, tool: str, resources: tuple[Resource, ...]) -> None:
        """Refuse a call that may not be given the secret.

        Raises:
            DeniedError: No rule of the secret allows it in every part, or it would go to a host that isn't named.
        """
        # Where an answer is saved is no place that the secret goes to.
        resources = tuple(resource for resource in resources if judged_as(tool, resource) == tool)
        decision = decide(self._policy, AccessRequest(self._principal, tool, resources))
        if decision.effect is not Effect.ALLOW:
            raise DeniedError(
                f"the secret {self.name} may not be given to this call of {tool}: none of its rules means it",
                rule_id=f"{self._key}:tools",
                remedy=f"a person can name the call in tools of [{self._key}] in the host's configuration",
            )
        for resource in resources:
            if isinstance(resource, UrlResource):
                self.check_host(resource)

    def check_host(self, url: UrlResource) -> None:
        """Refuse to send the secret where it may not go.

        Raises:
            DeniedError: The URL's origin isn't named.
        """
        if (url.scheme, url.host, url.port) not in self._origins:
            raise DeniedError(
                f"the secret {self.name} may not be sent to {_shown((url.scheme, url.host, url.port))}",
                rule_id=f"{self._key}:hosts",
                remedy=f"a person can name the host in hosts of [{self._key}] in the host's configuration",
            )

    def _origin(self, host: str) -> Origin:
        try:
            url = parse_url(host if "://" in host else f"https://{host}")
        except InvalidCallError as error:
            problem = str(error)
        else:
            if url.path != "/":
                problem = "it has a path, and a secret is for a whole host"
            elif url.scheme == "http" and not is_loopback(url.host):
                problem = "a secret would go there unencrypted, and only on this machine can nobody listen"
            else:
                return url.scheme, url.host, url.port
        raise ConfigurationError(
            f"[{self._key}] hosts: {host!r} is no host: {problem}; write git.example.org, git.example.org:8443 or "
            "http://localhost:3000",
            key=f"{self._key}.hosts",
        )


def read_uses(
    specs: Sequence[SecretUse], *, principal: str, workspace: str, known_tools: Collection[str]
) -> Mapping[str, Use]:
    """Give all uses by name.

    Raises:
        ConfigurationError: One can't be meant.
    """
    uses = {spec.name: Use(spec, principal=principal, workspace=workspace) for spec in specs}
    for use in uses.values():
        for tool in sorted(use.tools.difference(known_tools)):
            near = difflib.get_close_matches(tool, known_tools, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known_tools))}"
            raise ConfigurationError(
                f"[secrets.{use.name}] tools: there is no tool {tool!r}; {hint}", key=f"secrets.{use.name}.tools"
            )
    return uses


def _shown(origin: Origin) -> str:
    scheme, host, port = origin
    return f"{scheme}://{bracketed(host)}" + ("" if port == DEFAULT_PORTS[scheme] else f":{port}")
