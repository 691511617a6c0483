"""Remembers which declarations a person accepted, by the notebook's source: one small file in the user's state folder.

An acceptance is a grant for exactly one source (`provisioning.notebook.source_digest`, which covers the declaration too) and
one principal. A changed cell or a changed declaration is another source, so the question comes again; what was accepted for
the same path before is kept to say what changed.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from host_bridge.config import state_folder
from host_bridge.statefile import StateFile

VERSION = 1
MAX_ACCEPTED = 1000  # the oldest go first: a notebook that comes again after so many others is reviewed again


class Acceptance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One yes.

    Attributes:
        digest: Names the notebook's source.
        principal: Whom the notebook may act for.
        notebook: Where it lay, absolute; to say what changed, not to find anything by.
        permissions: What it declared; None where it declared nothing any more.
        accepted: When, RFC 3339, UTC.
    """

    digest: str
    principal: str
    notebook: str
    permissions: dict[str, Any] | None
    accepted: str


class _Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int = VERSION
    accepted: tuple[Acceptance, ...] = ()


def accepted_path() -> Path:
    """Where it is kept; no session may write there."""
    return state_folder() / "declarations" / "accepted.json"


class AcceptedDeclarations:
    """The file. Several processes may use it at once.

    Args:
        path: Where it lies; it need not exist.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._file = StateFile(
            path or accepted_path(),
            version=VERSION,
            what="what was accepted",
            remedy="accept notebooks again",
            private=False,
        )

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._file.path

    def all(self) -> tuple[Acceptance, ...]:
        """Give all that was accepted, the latest last.

        Raises:
            ConfigurationError: The file can't be read or isn't one of ours: nothing is accepted on its word.
        """
        _, data = self._file.read()
        return () if data is None else self._file.decode(data, _Store).accepted

    def is_accepted(self, principal: str, digest: str) -> bool:
        """Whether a person accepted this source for this principal. An unknown source (an empty digest) never is."""
        return bool(digest) and any((one.principal, one.digest) == (principal, digest) for one in self.all())

    def latest(self, principal: str, notebook: str) -> Acceptance | None:
        """Give what was accepted last for the notebook at this path."""
        found = [one for one in self.all() if (one.principal, one.notebook) == (principal, notebook)]
        return found[-1] if found else None

    def accept(
        self, *, principal: str, digest: str, notebook: str, permissions: Mapping[str, Any] | None
    ) -> Acceptance:
        """Remember a yes.

        Raises:
            ConfigurationError: It can't be remembered.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        acceptance = Acceptance(
            digest=digest,
            principal=principal,
            notebook=notebook,
            permissions=None if permissions is None else dict(permissions),
            accepted=now,
        )

        def with_it(accepted: tuple[Acceptance, ...]) -> tuple[Acceptance, ...]:
            others = [one for one in accepted if (one.principal, one.digest) != (principal, digest)]
            return (*others, acceptance)[-MAX_ACCEPTED:]

        self._change(with_it)
        return acceptance

    def revoke(self, is_meant: Callable[[Acceptance], bool]) -> int:
        """Forget what `is_meant`; give how many there were.

        Raises:
            ConfigurationError: The file can't be changed.
        """
        revoked = 0

        def without(accepted: tuple[Acceptance, ...]) -> tuple[Acceptance, ...]:
            nonlocal revoked
            kept = tuple(one for one in accepted if not is_meant(one))
            revoked = len(accepted) - len(kept)
            return kept

        self._change(without)
        return revoked

    def _change(self, change: Callable[[tuple[Acceptance, ...]], tuple[Acceptance, ...]]) -> None:
        with self._file.changing():
            before = self.all()
            after = change(before)
            if after != before:
                self._file.replace(_Store(VERSION, after))
