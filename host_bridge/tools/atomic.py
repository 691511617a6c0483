"""Changes to files that happen whole or not at all, and can be taken back until they are closed.

New content is written to a file without a name in the destination's own folder (a file with an unguessable one where the
file system has no nameless files), then renamed into place. Everything goes through the folder's descriptor, so that a folder
swapped for a link leads nowhere else.

Nothing is synchronised to the disk unless asked (`durable`): a rename is atomic for every reader of this machine, and only
a loss of power could bring back the old content or, on some file systems, an empty file.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from types import TracebackType
from typing import Self

from host_bridge.errors import CallError, InvalidCallError, NotFoundError
from host_bridge.policy.openat2 import HAS_PROC_DESCRIPTORS, PROC_DESCRIPTORS
from host_bridge.policy.paths import ResolvedPath, path_error, quoted
from host_bridge.tools.interface import Bytes
from host_bridge.tools.versions import file_version

_NEW_MODE = 0o644  # what editors create; the umask may take from it
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0) if HAS_PROC_DESCRIPTORS else 0  # its way to a name leads through /proc
_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


KeepImage = Callable[[str, int, str], Callable[[], None]]
"""Writes down what a file is before it is changed (its path, its folder's descriptor, its name); gives what to call after."""


class Change(abc.ABC):
    """A change to one file. `commit` makes it, `undo` takes it back, `close` ends the choice.

    Args:
        target: Resolved with `must_exist=False`; stays the caller's, and open as long as the change.

    Attributes:
        keep_image: Set it to have what was there written down: `CallContext.keep_image`.
    """

    def __init__(self, target: ResolvedPath) -> None:
        self._target = target
        self._name = target.name
        self._backup = ""
        self._committed = False
        self.keep_image: KeepImage | None = None
        if target.parent_descriptor is None:
            raise InvalidCallError(f"{quoted(target.asked)} is a folder: name a file")
        self._folder = os.dup(target.parent_descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def asked(self) -> str:
        """The path as the kernel named it."""
        return self._target.asked

    def commit(self) -> None:
        """Make the change.

        Raises:
            CallError: It was not made, and all is as before.
        """
        try:
            self._target.check_folder(self._folder)
            is_changed = self.keep_image(self._target.path, self._folder, self._name) if self.keep_image else None
            self._commit()
        except OSError as error:
            raise path_error(error, self._target.asked) from None
        self._committed = True
        if is_changed is not None:
            is_changed()

    @abc.abstractmethod
    def _commit(self) -> None: ...

    @abc.abstractmethod
    def undo(self) -> None:
        """Take a committed change back. Does nothing to one that is not."""

    def close(self) -> None:
        """Remove what was kept for `undo`, and everything temporary."""
        self._remove(self._backup)
        os.close(self._folder)

    def _now(self) -> os.stat_result | None:
        """What has the target's name at this moment, if it may be changed."""
        try:
            status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise CallError(f"{quoted(self._target.asked)} was replaced while the call was decided about: call again")
        return status

    def _require(self, version: str) -> None:
        status = self._now()
        if status is None or file_version(status) != version:
            raise CallError(f"{quoted(self._target.asked)} changed meanwhile: read it again, then call again")

    def _rename(self, source: str, destination: str) -> None:
        os.rename(source, destination, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _link(self, source: str, destination: str) -> None:
        os.link(source, destination, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)

    def _remove(self, name: str) -> None:
        if name:
            with contextlib.suppress(FileNotFoundError):  # renamed into place, or removed by somebody: gone is gone
                os.unlink(name, dir_fd=self._folder)


class Removal(Change):
    """Takes a file away.

    Args:
        version: Remove it only if it still is this one.
    """

    def __init__(self, target: ResolvedPath, *, version: str) -> None:
        target.require_file(write=True)
        super().__init__(target)
        self._version = version

    def _commit(self) -> None:
        self._require(self._version)
        backup = _unguessable()
        self._rename(self._name, backup)
        self._backup = backup

    def undo(self) -> None:
        """Put the file back."""
        if self._committed:
            self._rename(self._backup, self._name)
            self._backup, self._committed = "", False


class Replacement(Change):
    """Puts new content in a file's place, or creates it. Write all of it, then commit.

    Args:
        create_parents: Make the folders that are missing on the way.
        version: Replace only this one; `""` for only creating; None for whatever is there.
        mode: The permissions of a new file.
        keeps_mode: Whether a replaced file keeps its own instead.
        undoable: Keep what was there until `close`.
        durable: Have the disk confirm before `commit` returns.
    """

    def __init__(
        self,
        target: ResolvedPath,
        *,
        create_parents: bool = False,
        version: str | None = None,
        mode: int | None = None,
        keeps_mode: bool = True,
        undoable: bool = False,
        durable: bool = False,
    ) -> None:
        if target.problem:
            raise target.problem
        if target.status is not None:
            target.require_file(write=True)
        super().__init__(target)
        self._version = version
        self._undoable = undoable
        self._keeps_mode = keeps_mode
        self._durable = durable
        self._made: list[tuple[int, str]] = []  # folders made: where, and under what name
        self._temporary = ""
        self._file = -1
        self._replaced: os.stat_result | None = None
        self.bytes_written = 0
        try:
            self._replaced = None if target.missing_folders else self._now()
            self._make_parents(create_parents)
            self._open()
            self._keep_owner_and_mode(mode)
        except OSError as error:
            self.close()
            raise path_error(error, target.asked) from None
        except BaseException:
            self.close()
            raise

    @property
    def creates(self) -> bool:
        """Whether nothing is there yet."""
        return self._replaced is None

    def write(self, data: Bytes) -> None:
        """Add to the new content.

        Raises:
            CallError: It can't be written; nothing has changed.
        """
        rest = memoryview(data).cast("B")
        try:
            while rest:
                written = os.write(self._file, rest)
                self.bytes_written += written
                rest = rest[written:]
        except OSError as error:
            raise path_error(error, self._target.asked) from None

    def _commit(self) -> None:
        if self._version:
            self._require(self._version)
        elif self._now() is not None and self._version == "":
            raise CallError(f"{quoted(self._target.asked)} exists by now: read it, then change it instead")
        if self._durable:
            os.fsync(self._file)
        self._name_temporary()
        if self._version == "":
            self._place_new()
            self._confirm_name()
            return
        if self._undoable and self._replaced is not None:
            self._keep_backup()
        try:
            self._rename(self._temporary, self._name)
        except OSError:
            if self._backup and self._now() is None:
                self._rename(self._backup, self._name)
                self._backup = ""
            raise
        self._temporary = ""
        self._confirm_name()

    def undo(self) -> None:
        """Put back what was there, or nothing where nothing was."""
        if not self._committed:
            return
        if self._backup:
            self._rename(self._backup, self._name)
        elif self._replaced is None:
            self._remove(self._name)
        else:
            raise OSError(errno.ENOTSUP, "it was replaced without keeping what was there")
        self._backup, self._committed = "", False

    def close(self) -> None:
        """Remove what is temporary; and the folders made, unless the file is in them."""
        if self._file >= 0:
            os.close(self._file)
        self._remove(self._temporary)
        super().close()
        for folder, name in reversed(self._made):
            if not self._committed:
                with contextlib.suppress(OSError):  # somebody put something in: then it is theirs now
                    os.rmdir(name, dir_fd=folder)
            os.close(folder)

    def _make_parents(self, create: bool) -> None:
        missing = self._target.missing_folders
        if missing and not create:
            raise NotFoundError(
                f"the folder of {quoted(self._target.asked)} does not exist: make it, or set create_parents"
            )
        for name in missing:
            with contextlib.suppress(FileExistsError):  # made meanwhile by another call: entered below, if it is one
                os.mkdir(name, dir_fd=self._folder)
                self._made.append((os.dup(self._folder), name))
            entered = os.open(name, _ENTER, dir_fd=self._folder)
            os.close(self._folder)
            self._folder = entered

    def _open(self) -> None:
        if _O_TMPFILE:
            try:
                flags = _O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
                self._file = os.open(".", flags, _NEW_MODE, dir_fd=self._folder)
                return
            except OSError as error:
                if error.errno not in _NO_NAMELESS:
                    raise
        self._open_named()

    def _open_named(self) -> None:
        name = _unguessable()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(name, flags, _NEW_MODE, dir_fd=self._folder)
        self._temporary = name

    def _keep_owner_and_mode(self, mode: int | None) -> None:
        if self._replaced is not None:
            mine = os.fstat(self._file)
            if (mine.st_uid, mine.st_gid) != (self._replaced.st_uid, self._replaced.st_gid):
                # Only root may give files away; for others a replaced file becomes theirs, as with any editor.
                with contextlib.suppress(PermissionError):
                    os.fchown(self._file, self._replaced.st_uid, self._replaced.st_gid)
            if self._keeps_mode:
                mode = stat.S_IMODE(self._replaced.st_mode)
        if mode is not None:
            # Writing in place would have cleared set-user-id and set-group-id; so does replacing.
            os.fchmod(self._file, mode & ~(stat.S_ISUID | stat.S_ISGID))

    def _name_temporary(self) -> None:
        if not self._temporary:
            name = _unguessable()
            os.link(f"{PROC_DESCRIPTORS}/{self._file}", name, dst_dir_fd=self._folder, follow_symlinks=True)
            self._temporary = name

    def _place_new(self) -> None:
        try:
            self._link(self._temporary, self._name)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._rename(self._temporary, self._name)  # checked above; without hard links there is no better way
            self._temporary = ""
            return
        self._remove(self._temporary)
        self._temporary = ""

    def _confirm_name(self) -> None:
        if self._durable:
            folder = os.open(".", _ENTER, dir_fd=self._folder)  # the one held can't be synchronised
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _keep_backup(self) -> None:
        backup = _unguessable()
        try:
            self._link(self._name, backup)
        except FileNotFoundError:
            return  # removed since it was resolved: nothing to keep
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self._rename(self._name, backup)
        self._backup = backup


def _unguessable() -> str:
    return f".hermes-{secrets.token_hex(12)}"
