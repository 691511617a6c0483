"""`hermes-runtime doctor`: would the main job work on this machine, and if not, what to do.

finding       what an examination says
packages      Python and the installed distributions
kernels       what Jupyter sees, here and in other environments
places        configuration, folders, sockets, disk
tools         what the tools need
confinement   what could confine a kernel
round_trip    a real call through a real kernel
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from host_bridge.doctor import confinement, kernels, packages, places, round_trip, tools
from host_bridge.doctor.finding import Finding, Status, failure

__all__ = ["Finding", "Status", "examine"]

_EXAMINATIONS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("packages", packages.examine),
    ("kernels", kernels.examine),
    ("places", places.examine),
    ("tools", tools.examine),
    ("round trip", round_trip.examine),
    ("confinement", confinement.examine),
)


def examine() -> Iterator[Finding]:
    """Look at everything, giving each finding as it is made."""
    for subject, look in _EXAMINATIONS:
        try:
            yield from look()
        except Exception as error:
            # An examination that breaks is a finding about this machine, and the others still have something to say.
            yield failure(subject, f"could not be examined: {type(error).__name__}: {error}", "report this as a defect")
