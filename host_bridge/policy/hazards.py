"""Which arguments make a command more than it looks: they run another program, write elsewhere, change settings.

`find_hazards` names them by position; an `allow` rule's wildcard doesn't reach them (`host_bridge.policy.words`). What is known
of each command is in `habits`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from host_bridge.policy.habits import HABITS, Habit


@dataclasses.dataclass(frozen=True, slots=True)
class Hazards:
    """What a wildcard must not stand for.

    Attributes:
        indices: Positions in the argument vector.
        whole: No wildcard at all may stand in a rule for this command.
    """

    indices: tuple[int, ...] = ()
    whole: bool = False


NONE = Hazards()
WHOLE = Hazards(whole=True)


def find_hazards(argv: Sequence[str]) -> Hazards:
    """Give the hazardous arguments of a command."""
    habit = _habit(argv[0])
    if habit is None:
        return NONE
    if habit.wraps:
        return WHOLE
    indices = {index for index in range(1, len(argv)) if _is_hazard(habit, argv[index])}
    if habit.first_operand:
        operand = _first_operand(argv, habit)
        if operand is None:
            # `git --version` is harmless, `python` alone runs what it is fed.
            return WHOLE if habit.runs or len(argv) == 1 else Hazards(tuple(range(1, len(argv))))
        indices.update(range(1, operand + 1))
    if habit.operands is not None:
        indices.update(_operands(argv)[habit.operands :])
    if habit.find is not None:
        indices.update(habit.find(argv))
    return Hazards(tuple(sorted(indices))) if indices else NONE


def runs_its_arguments(argv: Sequence[str]) -> bool:
    """Whether the command runs, or may run, what its arguments say."""
    habit = _habit(argv[0])
    return habit is not None and (habit.wraps or habit.runs)


def is_known(command: str) -> bool:
    """Whether anything is known about the command; an unknown one has no hazards, whatever its arguments."""
    return _habit(command) is not None


def depends_on_folder(argv: Sequence[str]) -> bool:
    """Whether the folder the command runs in says what it runs."""
    habit = _habit(argv[0])
    return habit is not None and habit.rooted


def _habit(command: str) -> Habit | None:
    name = command.rsplit("/", 1)[-1].lower().removesuffix(".exe")
    habit = HABITS.get(name)
    # python3.11, perl5.36.0, pip3, gcc-12
    return habit if habit is not None else HABITS.get(name.rstrip("0123456789.-"))


def _is_hazard(habit: Habit, argument: str) -> bool:
    if argument in habit.words:
        return True
    if habit.inside and _leads_out(argument):
        return True
    if argument.startswith("--"):
        name = argument[2:].partition("=")[0]
        return bool(name) and any(option.startswith(name) for option in habit.long)
    if argument.startswith("-"):
        return any(letter in habit.short for letter in argument[1:])
    return False


def _leads_out(argument: str) -> bool:
    value = argument.partition("=")[2] or argument
    return value.startswith(("/", "~")) or ".." in value.split("/")


def _first_operand(argv: Sequence[str], habit: Habit) -> int | None:
    index = 1
    while index < len(argv):
        if argv[index] in habit.values:
            index += 2
        elif argv[index].startswith("-") and argv[index] != "-":
            index += 1
        else:
            return index
    return None


def _operands(argv: Sequence[str]) -> list[int]:
    return [index for index in range(1, len(argv)) if not argv[index].startswith("-") or argv[index] == "-"]
