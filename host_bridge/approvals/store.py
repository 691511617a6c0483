"""What a person allowed a notebook: a file in the user's state folder, which outlives the session.

A grant is for one call (its digest) by one rule, of one notebook's source (`provisioning.notebook.source_digest`), for one
principal, in one workspace. Each carries a digest over its own fields, which is its name too: what was changed by hand is not
used. Whatever can't be relied on gives no grant, and a warning.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from host_bridge.config import state_folder
from host_bridge.errors import ConfigurationError

VERSION = 1
MAX_GRANTS = 5000  # the oldest go first: what comes again after so many others is asked again
MAX_STORE_BYTES = 16 * 2**20
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
        self._path = path
        self._warn = warn
        self._seen: tuple[int, int, int] | None = None
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
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            self._seen, self._grants = None, ()
            return ()
        except OSError as error:
            raise self._unusable(f"can't be read: {error.strerror}") from None
        with open(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            # Whoever can write here says yes for the user.
            if status.st_uid != os.getuid() or status.st_mode & 0o077 or status.st_nlink != 1:
                raise self._unusable("can be reached by others; run chmod 600 if it was you who wrote it")
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen == self._seen:
                return self._grants
            data = file.read(MAX_STORE_BYTES + 1)
        if len(data) > MAX_STORE_BYTES:
            raise self._unusable(f"is over {MAX_STORE_BYTES} bytes")
        self._grants = self._checked(data)
        self._seen = seen
        return self._grants

    def _checked(self, data: bytes) -> tuple[NotebookGrant, ...]:
        try:
            store = msgspec.json.decode(data, type=_Store)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._unusable(f"is damaged ({error})") from None
        if store.version != VERSION:
            raise self._unusable(f"is of version {store.version}, and {VERSION} is known here")
        whole = tuple(grant for grant in store.grants if grant.is_whole)
        if len(whole) != len(store.grants):
            self._warn(f"{self._path}: {len(store.grants) - len(whole)} grants were changed by hand and are not used")
        return whole

    def _change(self, change: Callable[[tuple[NotebookGrant, ...]], tuple[NotebookGrant, ...]]) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder):
                before = self._read()
                after = change(before)
                if after != before:
                    self._replace(msgspec.json.encode(_Store(VERSION, after)))
        except OSError as error:
            raise self._unusable(f"can't be written: {error.strerror}") from None

    def _replace(self, data: bytes) -> None:
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            beside.replace(self._path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def _unusable(self, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path}: what notebooks were allowed {problem}; move the file away, and answer again",
            path=str(self._path),
        )


def _key(grant: NotebookGrant) -> tuple[str, ...]:
    return (
        grant.notebook_digest,
        grant.principal,
        grant.workspace,
        grant.tool,
        grant.call_digest,
        grant.rule_id,
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing the folder's file; reading needs no lock, since it is replaced as a whole."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
