"""The single review of a notebook whose declared needs nobody has accepted for its present source: one page, one answer.

It is asked before anything starts, of the person at the terminal. Where nobody is there, the run goes on under the declaration,
which narrows, or is refused, as the configuration says (`[declarations] unknown`).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host_bridge.cli import prompter
from host_bridge.cli.output import indented, plain
from host_bridge.errors import DeclarationError

if TYPE_CHECKING:
    from host_bridge.declarations.accepted import Acceptance
    from host_bridge.policy.layers import Policy

_CHOICES = "[y] yes, and remember it for this source   [o] yes, for this run only   [N] no, don't run > "
_ANSWERS = {"y": "yes", "yes": "yes", "o": "once", "once": "once"}
_MAX_ANSWER_BYTES = 64  # whatever is longer is no yes


def review(notebook: str, choices: Mapping[str, Any]) -> str:
    """Have a person look at what a notebook declares, if nobody has yet.

    Args:
        notebook: The path given to `run`.
        choices: The other options of `run`.

    Returns:
        The source that the person accepted for this run; empty where there was nothing to accept, or nobody to ask.

    Raises:
        DeclarationError: The person said no, or nothing in time.
        ConfigurationError: The declaration can't be meant, or what was accepted can't be read.
    """
    from host_bridge.config import PRINCIPAL_VARIABLE, load_config
    from host_bridge.declarations.accepted import AcceptedDeclarations
    from host_bridge.provisioning.declared_needs import is_trusted, lowered_budgets
    from host_bridge.provisioning.notebook import declared_permissions, read_document, source_digest

    document = None if notebook == "-" or "://" in notebook else read_document(notebook)
    if document is None:
        return ""
    host, path = load_config(), str(Path(notebook).absolute())
    principal = choices["agent"] or os.environ.get(PRINCIPAL_VARIABLE) or host.session.principal
    permissions, digest, store = declared_permissions(document), source_digest(document), AcceptedDeclarations()
    previous = store.latest(principal, path)
    nothing_to_say = permissions is None and (previous is None or previous.permissions is None)
    if nothing_to_say or store.is_accepted(principal, digest) or is_trusted(host, path):
        return ""
    lowered_budgets({}, permissions)
    text = page(notebook, permissions, previous, _policy(principal, choices))
    answer = ask(text, host.session.ask_timeout_seconds)
    if answer == "no":
        raise DeclarationError(f"{notebook} was not run: what it declares was not accepted", path=path)
    if answer == "yes":
        store.accept(principal=principal, digest=digest, notebook=path, permissions=permissions)
    return digest if answer else ""


def page(notebook: str, permissions: Mapping[str, Any] | None, previous: Acceptance | None, policy: Policy) -> str:
    """Give the page, without the choices."""
    from host_bridge.cli.permissions import standing_table
    from host_bridge.declarations.difference import authority_diff
    from host_bridge.declarations.sentences import declaration_sentences, difference_sentences
    from host_bridge.declarations.standing import standings

    lines = [f"{plain(notebook)} says what it needs, and for its present source nobody has accepted that:"]
    lines += [f"  {plain(sentence)}" for sentence in declaration_sentences(permissions)]
    if permissions and permissions.get("note"):
        lines.append(f"its note: {plain(permissions['note'])}")
    if permissions is not None and (standing := standings(policy, permissions)):
        lines.append(f"the policy (profile {policy.profile}, for {plain(policy.principal)}) by itself says:")
        lines.append(indented(standing_table(standing)))
    if previous is None:
        lines.append("It was never accepted before.")
    else:
        lines.append(f"since it was accepted last, {plain(previous.accepted)}:")
        changes = difference_sentences(authority_diff(previous.permissions, permissions))
        lines += [f"  {plain(sentence)}" for sentence in changes]
        if previous.permissions == permissions:
            lines.append("  Its cells have changed.")
    lines.append(
        "A yes answers, until its source changes, every question about what it declares. What is denied stays denied."
    )
    return "\n".join(lines)


def ask(text: str, timeout_seconds: float) -> str:
    """Show a page on the terminal, and wait for the answer.

    Returns:
        `"yes"`, `"once"`, or `"no"`, which anything else than a clear yes is; `""` where there is no terminal.
    """
    prompter.discard_typed_ahead()
    try:
        terminal = os.open(prompter.TERMINAL, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return ""
    try:
        _write(terminal, f"\n{text}\n{_CHOICES}")
        return _ANSWERS.get(_read_line(terminal, timeout_seconds).strip().lower(), "no")
    except OSError:  # a terminal that went away
        return "no"
    finally:
        os.close(terminal)


def _write(terminal: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(terminal, data) :]


def _read_line(terminal: int, timeout_seconds: float) -> str:
    deadline = time.monotonic() + timeout_seconds
    line = b""
    while not line.endswith(b"\n") and len(line) < _MAX_ANSWER_BYTES:
        if not select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            _write(terminal, "\nno answer in time\n")
            return ""
        # Byte by byte: what follows the answer belongs to whoever reads next.
        byte = os.read(terminal, 1)
        if not byte:
            return ""
        line += byte
    return line.decode("utf-8", "replace")


def _policy(principal: str, choices: Mapping[str, Any]) -> Policy:
    from host_bridge.cli.policy_loading import load_session_policy

    return load_session_policy(
        profile=choices["profile"],
        policies=choices["policies"],
        allow=choices["allow"],
        deny=choices["deny"],
        agent=principal,
        workspace=choices["workspace"] or choices["cwd"] or ".",
    )
