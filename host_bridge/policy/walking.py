"""Walk a path component by component, holding every folder open on the way and following links by hand.

What the walk ends at is a descriptor, and its name is spelled from what was really passed through; so nothing renamed or
swapped meanwhile can make the name and the thing differ, and `..` goes back to the folder one came from, wherever that has
been moved. It needs nothing of the kernel but openat, and is what `paths` uses where the short way (`openat2` without links)
does not answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import unicodedata

from host_bridge.errors import CallError, DeniedError, NotFoundError
from host_bridge.policy import volumes
from host_bridge.policy.openat2 import O_PATH
from host_bridge.policy.path_errors import RULE_ID, left_workspace, quoted

MAX_LINKS = 40  # as Linux
_PROC_ROOT_INODE = 1
_ENTER = os.O_CLOEXEC | os.O_RDONLY | os.O_DIRECTORY


@dataclasses.dataclass(slots=True)
class Walked:
    """Where a walk ended. The descriptors are the caller's to close.

    Attributes:
        names: The canonical name, as components from where the walk started.
        descriptor: What is there; None when nothing is, or where the platform can't hold it without opening it.
        status: Of what is there, None when nothing is. A link only where the last link was not to be followed.
        parent_descriptor: The folder it is in, or the last folder that exists on the way; None for the start itself.
        missing: How many of the last `names` don't exist.
    """

    names: list[str]
    descriptor: int | None
    status: os.stat_result | None
    parent_descriptor: int | None
    missing: int = 0


class Walk:
    """One walk; use it once.

    Args:
        start: The folder to begin at; stays the caller's.
        beneath: Refuse to leave `start`. Otherwise `start` must be `/`.
        asked: The path as the kernel named it, for errors.
        follow_last: Whether a link in the last place is followed, or is itself where the walk ends.
    """

    def __init__(self, start: int, *, beneath: bool, asked: str, follow_last: bool = True) -> None:
        self._start = start
        self._beneath = beneath
        self._asked = asked
        self._follow_last = follow_last
        self._links = 0
        self._names: list[str] = []
        self._folders: list[int] = []  # beneath `start`, one for each of `_names`
        self._pending: list[str] = []  # components still to go, the next one last

    def go(self, path: str) -> Walked:
        """Walk `path`, which is relative to the start.

        Raises:
            CallError: It may not be followed.
            OSError: The operating system said no on the way. A missing component is no error, see `Walked.missing`.
        """
        self._pending = path.split("/")[::-1]
        try:
            while self._pending:
                name = self._pending.pop()
                if name == "..":
                    self._up()
                elif name not in ("", ".") and (end := self._step(name)):
                    return end
            return self._at_folder()
        finally:
            for folder in self._folders:
                os.close(folder)

    def unreached(self) -> list[str]:
        """After an OSError: the components so far, and the ones it was not possible to go, uninterpreted."""
        return [*self._names, *(name for name in reversed(self._pending) if name not in ("", "."))]

    def _step(self, name: str) -> Walked | None:
        try:
            descriptor, status = _look(name, self._here())
        except FileNotFoundError:
            return self._at_missing(name)
        except OSError:
            self._pending.append(name)
            raise
        is_last = not any(rest not in ("", ".") for rest in self._pending)
        with contextlib.ExitStack() as on_error:
            if descriptor is not None:
                on_error.callback(os.close, descriptor)
            if stat.S_ISLNK(status.st_mode) and (self._follow_last or not is_last):
                self._follow(name, descriptor)
                return None  # the link's own descriptor is closed
            self._names.append(self._spelled(name, status))
            if stat.S_ISDIR(status.st_mode):
                assert descriptor is not None, "folders can always be held"
                self._folders.append(descriptor)
                on_error.pop_all()
                return None
            if self._pending:  # if only a slash
                self._refuse_to_leave(self._pending[::-1])
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            end = Walked(self._names, descriptor, status, os.dup(self._here()))
            on_error.pop_all()
            return end

    def _here(self) -> int:
        return self._folders[-1] if self._folders else self._start

    def _up(self) -> None:
        if self._folders:
            os.close(self._folders.pop())
            self._names.pop()
        elif self._beneath:
            raise left_workspace(self._asked)

    def _follow(self, name: str, descriptor: int | None) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            self._pending.append(name)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        here = self._here()
        if volumes.is_proc(here) and os.fstat(here).st_ino != _PROC_ROOT_INODE:
            # /proc/<pid>/{root,cwd,exe,fd/*,ns/*}: the kernel jumps to an object there, and the text of the link is only a
            # hint. The plain ones (self, mounts, net) are all in /proc itself.
            raise DeniedError(f"{quoted(self._asked)} goes through a link into a process", rule_id=RULE_ID)
        target = os.readlink(name, dir_fd=here) if descriptor is None else os.readlink("", dir_fd=descriptor)
        if target.startswith("/"):
            if self._beneath:
                raise left_workspace(self._asked)
            while self._folders:
                self._up()
        self._pending.extend(target.split("/")[::-1])

    def _at_missing(self, name: str) -> Walked:
        rest = [name, *(rest for rest in reversed(self._pending) if rest not in ("", "."))]
        if ".." in rest:
            self._refuse_to_leave(rest)
            # What does not exist has no parent; guessing one is how two readers of a path come to differ. Outside of the
            # workspace, whether something exists is not for everybody to know.
            message = f"{quoted(self._asked)} goes back by '..' from what can't be entered: leave out the detour"
            raise NotFoundError(message) if self._beneath else DeniedError(message, rule_id=RULE_ID)
        return Walked([*self._names, *rest], None, None, os.dup(self._here()), len(rest))

    def _refuse_to_leave(self, rest: list[str]) -> None:
        """Refuse what would leave the start if all of `rest` were folders, whether or not they are."""
        depth = len(self._names)
        for name in rest:
            if name not in ("", "."):
                depth += -1 if name == ".." else 1
            if depth < 0 and self._beneath:
                raise left_workspace(self._asked)

    def _at_folder(self) -> Walked:
        descriptor = os.dup(self._here())
        if not self._folders:
            return Walked([], descriptor, os.fstat(descriptor), None)
        parent = os.dup(self._folders[-2] if len(self._folders) > 1 else self._start)
        return Walked(self._names, descriptor, os.fstat(descriptor), parent)

    def _spelled(self, name: str, status: os.stat_result) -> str:
        here = self._here()
        return spelled_on_disk(here, name, status) if volumes.folds_names(here) else name


def _look(name: str, folder: int) -> tuple[int | None, os.stat_result]:
    """Take hold of an entry without opening it, so that neither a pipe nor a device notices."""
    if O_PATH:
        descriptor = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        return descriptor, os.fstat(descriptor)
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        return None, status
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    return descriptor, os.fstat(descriptor)


def spelled_on_disk(folder: int, name: str, status: os.stat_result) -> str:
    """Give the name under which `folder` lists what `name` opened, whose status is `status`.

    Where file systems fold names, `.GIT` and `GIT~1` open `.git`, and a rule about `.git` must see that.

    Raises:
        CallError: The folder doesn't list it under any name.
    """
    listing = os.open(".", _ENTER, dir_fd=folder)
    try:
        names = os.listdir(listing)  # noqa: PTH208 - by descriptor
    finally:
        os.close(listing)
    if name in names:
        return name
    # Likely ones first: a status per entry is slow where this is needed, on network drives.
    for entry in sorted(names, key=lambda entry: _folded(entry) != _folded(name)):
        try:
            if os.path.samestat(os.stat(entry, dir_fd=folder, follow_symlinks=False), status):
                return entry
        except FileNotFoundError:
            continue  # removed since it was listed
    raise CallError("the folder changed while it was looked at: call again")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
