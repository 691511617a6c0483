"""Makes one policy of sources that were read. Pure: nothing here looks at a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from host_bridge.policy.floor import Floor
from host_bridge.policy.layers import Layer, Policy, Role
from host_bridge.policy.sources import Source


def assemble(
    sources: Sequence[Source],
    layers: Iterable[Layer] = (),
    *,
    principal: str = "default",
    profile: str = "",
    floor: Floor | None = None,
    workspace: str = "",
    digest: str = "",
    accepted: Layer | None = None,
) -> Policy:
    """Put sources together.

    Args:
        sources: The profile first.
        layers: Further layers that only narrow.
        principal: Whom the policy is for.
        profile: The profile's name.
        floor: What no layer gives away; the plain one if None.
        workspace: Absolute and canonical; empty leaves open where commands run.
        digest: Over everything in force.
        accepted: What a person accepted of what the notebook declares.
    """
    authority = [rule for source in sources if not source.constrains for rule in source.rules]
    constraints = [Layer(source.layer, Role.CONSTRAINT, source.rules) for source in sources if source.constrains]
    return Policy(
        principal=principal,
        profile=profile,
        authority=Layer("user", Role.AUTHORITY, authority),
        constraints=(*constraints, *layers),
        floor=floor or Floor(),
        workspace=workspace,
        digest=digest,
        brakes_after_untrusted=_brakes(sources),
        accepted=accepted,
        sources=tuple((source.layer, source.path) for source in sources),
    )


def _brakes(sources: Sequence[Source]) -> bool:
    """Whether the taint brake is on: every constraining source may switch it on, only who has authority may leave it off."""
    profile, *others = sources
    if any(source.brake for source in others if source.constrains):
        return True
    said = [source.brake for source in others if source.brake is not None and not source.constrains]
    return any(said) if said else bool(profile.brake)
