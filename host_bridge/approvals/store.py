"""What a person allowed a notebook: a file in the user's state folder, which outlives the session.

A grant is for one call (its digest) by one rule, of one notebook's source (`provisioning.notebook.source_digest`), for one
principal, in one workspace. Each carries a digest over its own fields, which is its name too: what was changed by hand is not
used. Whatever can't be relied on gives no grant, and a warning.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from host_bridge.config import state_folder
from host_bridge.errors import ConfigurationError
from host_bridge.statefile import State, StateFile

VERSION = 1
MAX_GRANTS = 5000  # the oldest go first: what comes again after so many others is asked again
MAX_SUMMARY_CHARACTERS = 500


class NotebookGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One yes to a notebook.

    Attributes:
        notebook_digest: Names the notebook's source.
        call_digest: Names the normalised call.
        untrusted: Whether it holds after untrusted content was read: it was when the person said so.
        notebook: Where the notebook lay; for people, not to find anything by.
        summary: The call; for people.
        granted: When, RFC 3339, UTC.
        by: Who or what said so.
        id: A digest over the rest.
    """

    notebook_digest: str
    principal: str
    workspace: str
    tool: str
    call_digest: str
    rule_id: str
    untrusted: bool = False
    notebook: str = ""
    summary: str = ""
    granted: str = ""
    by: str = ""
    id: str = ""

    def sealed(self) -> NotebookGrant:
        """Give it with the id that belongs to its fields."""
        return msgspec.structs.replace(self, id=self._digest())

    @property
    def is_whole(self) -> bool:
        """Whether its id belongs to its fields."""
        return self.id == self._digest()

    def _digest(self) -> str:
        bare = msgspec.structs.replace(self, id="")
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:24]


class _Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int = VERSION
    grants: tuple[NotebookGrant, ...] = ()


def grants_path() -> Path:
    """Where a user's notebook grants lie. The file need not exist."""
    return state_folder() / "grants" / "notebooks.json"


class NotebookGrants:
    """The file. Several processes may use it at once; what one changes, the others see with their next use.

    Args:
        path: Where it lies; it need not exist.
        warn: Hears of what could not be relied on.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._file = StateFile(
            path, version=VERSION, what="what notebooks were allowed", remedy="answer again", private=True
        )
        self._warn = warn
        self._seen: State | None = None
        self._grants: tuple[NotebookGrant, ...] = ()

    def all(self) -> tuple[NotebookGrant, ...]:
        """Give the grants that can be relied on, the latest last. A file that can't be is warned of, and gives none."""
        try:
            return self._read()
        except ConfigurationError as error:
            self._seen, self._grants = None, ()
            self._warn(str(error))
            return ()

    def find(self, wanted: NotebookGrant) -> NotebookGrant | None:
        """Give a grant for the same notebook, principal, workspace, call and rule."""
        for grant in self.all():
            if _key(grant) == _key(wanted) and (grant.untrusted or not wanted.untrusted):
                return grant
        return None

    def add(self, grant: NotebookGrant) -> NotebookGrant:
        """Write a grant down; see `add_all`."""
        return self.add_all([grant])[0]

    def add_all(self, grants: Iterable[NotebookGrant]) -> list[NotebookGrant]:
        """Write grants down: all of them or none.

        Raises:
            ConfigurationError: They can't be, so there are none.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        added = [
            msgspec.structs.replace(
                grant, granted=grant.granted or now, summary=grant.summary[:MAX_SUMMARY_CHARACTERS]
            ).sealed()
            for grant in grants
        ]
        replaced = {(_key(one), one.untrusted) for one in added}

        def with_them(grants: tuple[NotebookGrant, ...]) -> tuple[NotebookGrant, ...]:
            others = [one for one in grants if (_key(one), one.untrusted) not in replaced]
            return (*others, *added)[-MAX_GRANTS:]

        self._change(with_them)
        return added

    def revoke(self, is_meant: Callable[[NotebookGrant], bool]) -> int:
        """Take back what `is_meant`; give how many there were. Sessions that run ask again from now on.

        Raises:
            ConfigurationError: The file can't be changed.
        """
        revoked = 0

        def without(grants: tuple[NotebookGrant, ...]) -> tuple[NotebookGrant, ...]:
            nonlocal revoked
            kept = tuple(one for one in grants if not is_meant(one))
            revoked = len(grants) - len(kept)
            return kept

        self._change(without)
        return revoked

    def _read(self) -> tuple[NotebookGrant, ...]:
        state, data = self._file.read(self._seen)
        if state is None:
            self._grants = ()
        elif data is not None:
            self._grants = self._checked(data)
        self._seen = state
        return self._grants

    def _checked(self, data: bytes) -> tuple[NotebookGrant, ...]:
        store = self._file.decode(data, _Store)
        whole = tuple(grant for grant in store.grants if grant.is_whole)
        if len(whole) != len(store.grants):
            changed = len(store.grants) - len(whole)
            self._warn(f"{self._file.path}: {changed} grants were changed by hand and are not used")
        return whole

    def _change(self, change: Callable[[tuple[NotebookGrant, ...]], tuple[NotebookGrant, ...]]) -> None:
        with self._file.changing():
            before = self._read()
            after = change(before)
            if after != before:
                self._file.replace(_Store(VERSION, after))


def _key(grant: NotebookGrant) -> tuple[str, ...]:
    return (
        grant.notebook_digest,
        grant.principal,
        grant.workspace,
        grant.tool,
        grant.call_digest,
        grant.rule_id,
    )
