"""Glob patterns over paths with `/`, as list_files and search_files take them.

    *       anything within one component       **      as a component: any number of components, also none
    ?       one character                       [a-z]   one of, [!a-z] none of; [*] is a star itself
    {a,b}   either

A pattern without a slash is about the last component, at any depth; one with a slash is about the whole path from the folder
that is searched. Letter case counts. Names that begin with a dot are seen by who asks for hidden ones, and by a pattern that
has a component beginning with a dot.

Matching takes time linear in the path for each component of the pattern, whatever the pattern: it comes from a kernel.
"""

from __future__ import annotations

import fnmatch
import re

MAX_GLOB_CHARACTERS = 1000
MAX_ALTERNATIVES = 64
MAX_COMPONENTS = 500  # of all alternatives together: compiling one takes a tenth of a millisecond
_ANY_DEPTH = None  # stands for `**` among compiled components


class GlobError(ValueError):
    """Not a pattern; says why."""


class Glob:
    """A pattern that paths can be tried against.

    Attributes:
        wants_hidden: Whether it names a component that begins with a dot.

    Raises:
        GlobError: It can't be read.
    """

    def __init__(self, pattern: str) -> None:
        if not pattern or len(pattern) > MAX_GLOB_CHARACTERS:
            raise GlobError(f"a glob has between 1 and {MAX_GLOB_CHARACTERS} characters")
        alternatives = [_components(text) for text in _expanded(pattern)]
        if sum(map(len, alternatives)) > MAX_COMPONENTS:
            raise GlobError(f"a glob may have at most {MAX_COMPONENTS} components, over all its alternatives")
        self.wants_hidden = any(
            component.startswith(".") for components in alternatives for component in components if component != "**"
        )
        self._alternatives = [[_compiled(component) for component in components] for components in alternatives]

    def matches(self, path: str) -> bool:
        """Whether it fits `path`, which is relative to the folder that is searched."""
        names = path.split("/")
        return any(_matches(components, names) for components in self._alternatives)


def _components(pattern: str) -> list[str]:
    components = [component for component in pattern.split("/") if component not in ("", ".")]
    if "/" not in pattern.rstrip("/"):
        components.insert(0, "**")
    return components


def _compiled(component: str) -> re.Pattern[str] | None:
    if component == "**":
        return _ANY_DEPTH
    try:
        return re.compile(fnmatch.translate(component))
    except re.error as error:
        raise GlobError(f"{component!r} is not a glob: {error}") from None


def _matches(components: list[re.Pattern[str] | None], names: list[str]) -> bool:
    """Match greedily, going back to the last `**` only: an earlier one could not do better."""
    at = tried = 0
    resume: tuple[int, int] | None = None
    while tried < len(names):
        component = components[at] if at < len(components) else ...
        if component is _ANY_DEPTH:
            resume = (at, tried)
            at += 1
        elif isinstance(component, re.Pattern) and component.match(names[tried]):
            at += 1
            tried += 1
        elif resume is not None:
            resume = (resume[0], resume[1] + 1)
            at, tried = resume[0] + 1, resume[1]
        else:
            return False
    return all(component is _ANY_DEPTH for component in components[at:])


def _expanded(pattern: str) -> list[str]:
    """Write out the braces: `a{b,c}` is `ab` and `ac`."""
    done: list[str] = []
    pending = [pattern]
    while pending:
        text = pending.pop()
        opening = text.find("{")
        if opening < 0:
            done.append(text)
            continue
        head, choices, tail = _split_braces(text, opening)
        pending.extend(f"{head}{choice}{tail}" for choice in reversed(choices))
        if len(done) + len(pending) > MAX_ALTERNATIVES:
            raise GlobError(f"a glob may have at most {MAX_ALTERNATIVES} alternatives")
    return done


def _split_braces(text: str, opening: int) -> tuple[str, list[str], str]:
    depth, start, choices = 0, opening + 1, []
    for position in range(opening, len(text)):
        character = text[position]
        if character == "{":
            depth += 1
        elif character == "," and depth == 1:
            choices.append(text[start:position])
            start = position + 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[:opening], [*choices, text[start:position]], text[position + 1 :]
    raise GlobError(f"{text!r} is not a glob: a brace is not closed")
