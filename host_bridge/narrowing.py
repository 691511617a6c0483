"""What calls are narrowed to: by the tags of the running cell, and by what each request carries.

A narrowing is a layer of the policy that only takes away (`policy.loading.narrowing_layer`). The layers of a call are all of
them, so blocks inside blocks, and blocks in a tagged cell, each take away further. It is a convenience inside one trust domain:
the kernel says what it narrows itself to, so code in it that wants to can leave that out.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

from host_bridge.errors import InvalidCallError, PolicyError
from host_bridge.policy.engine import DEFAULT
from host_bridge.policy.layers import Layer
from host_bridge.policy.loading import narrowing_layer
from host_bridge.policy.model import AccessRequest, Decision, Effect, Resource, TextResource
from host_bridge.policy.patterns import EVERY_TOOL, parse_rule
from host_bridge.policy.remedies import describe

_LIST = TextResource("list")
MAX_REMEMBERED = 128  # different lists of rules; a loop narrows itself alike again and again

Levels = tuple[tuple[str, ...], ...]
"""Lists of rules, outermost first."""


class Narrowings:
    """What one session's calls are narrowed to.

    Args:
        tools: The names of the tools there are; looked at when a rule is first used.
    """

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._cell: Levels = ()
        self._layers: dict[tuple[str, ...], Layer] = {}

    def enter_cell(self, rules: tuple[str, ...]) -> None:
        """A cell with these tags runs from now on.

        Raises:
            PolicyError: A rule can't be meant.
        """
        # First of all what is sure to be right: nothing. A cell whose rules can't be meant must not run under none.
        self._cell = ((),)
        if rules:
            self._layer(rules)
        self._cell = (rules,) if rules else ()

    def leave_cell(self) -> None:
        """The cell is over."""
        self._cell = ()

    def levels(self, levels: Sequence[tuple[str, ...]]) -> Levels:
        """Give all that a call made now has to pass, given what its request carries."""
        return (*self._cell, *levels) if levels else self._cell

    def layers(self, levels: Sequence[tuple[str, ...]]) -> tuple[Layer, ...]:
        """Give the layers of a call made now.

        Raises:
            InvalidCallError: A rule can't be meant.
        """
        if not levels and not self._cell:
            return ()
        try:
            return tuple(map(self._layer, self.levels(levels)))
        except PolicyError as error:
            raise InvalidCallError(f"the narrowing can't be meant: {error}") from None

    def _layer(self, rules: tuple[str, ...]) -> Layer:
        layer = self._layers.get(rules)
        if layer is None:
            layer = narrowing_layer(rules)
            check_tools(rules, self._tools)
            if len(self._layers) >= MAX_REMEMBERED:
                self._layers.clear()
            self._layers[rules] = layer
        return layer


def check_tools(rules: Iterable[str], tools: Collection[str]) -> None:
    """Refuse rules about tools that don't exist: a name misspelt would deny what was meant to be kept.

    Raises:
        PolicyError: Names the rule, and the nearest name.
    """
    for index, text in enumerate(rules):
        name = parse_rule(text).tool
        if name != EVERY_TOOL and name not in tools:
            near = difflib.get_close_matches(name, list(tools), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PolicyError(f"narrow[{index}]: there is no tool {name!r}{hint}", key=f"narrow[{index}]")


def judge_process(request: AccessRequest, commands: Iterable[Resource]) -> Decision | None:
    """Give a denial for a call about a background process that a narrowed block could not have started; None otherwise.

    A list of rules that names `process` says itself what may be done with all of them. One that names `terminal` only leaves
    it to what runs in the process: to feed a shell that was started outside is to run what the block may not run.
    """
    if request.resources == (_LIST,):
        return None  # it is about no process in particular, and shows what all of the notebook knows
    principal = request.principal
    for layer in request.narrowing:
        if all(layer.judge(principal, "process", each) is not None for each in request.resources):
            continue
        for command in commands:
            verdict = layer.judge(principal, "terminal", command)
            if verdict is None or verdict.effect is not Effect.ALLOW:
                reason = (
                    f"the process was started by {describe('terminal', command)}, which is not among what the cell narrowed "
                    "itself to"
                )
                return Decision(Effect.DENY, f"{layer.name}:{DEFAULT}", reason)
    return None
