"""Paths: from what a kernel wrote to one canonical name and a hold on the very thing, before anything is decided.

    text -> resolve() -> ResolvedPath -> .resource() for the policy, then .open() for the act

The hold is a descriptor that can't be read from (`O_PATH`), so resolving wakes no pipe and no device; `open` later turns it
into a real one. Between the two nothing can be swapped, whatever is renamed or linked meanwhile.

Relative paths start at the workspace and may not leave it, neither by `..` nor by a link. An absolute path that begins with
the workspace's is treated the same; any other is followed wherever it leads, and the policy decides about where that is.
About what lies outside nothing is said until then: a missing file and a closed one look alike to who may not ask.

`~` is not expanded: whose home it would be is not the kernel's to know. A path that begins with it as a shell would expand it
is refused rather than taken for a folder of that name; `./~` names that one.

The workspace is looked up by its name at each call, so a folder that was replaced (a fresh checkout) is the new one at once;
the descriptor is kept as long as the name still leads to it. Its parents are the host's, so nobody confined can redirect it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from types import TracebackType

from host_bridge.errors import CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy import volumes
from host_bridge.policy.model import Access, PathResource
from host_bridge.policy.openat2 import (
    HAS_PROC_DESCRIPTORS,
    O_PATH,
    PROC_DESCRIPTORS,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    is_available,
    openat2,
)
from host_bridge.policy.path_errors import RULE_ID, not_a_file, path_error, quoted
from host_bridge.policy.volumes import is_local
from host_bridge.policy.walking import Walk, Walked

__all__ = ["MAX_PATH_BYTES", "ResolvedPath", "check_path", "is_local", "path_error", "quoted", "resolve"]

MAX_PATH_BYTES = 4096  # Linux's PATH_MAX; a longer one can't be opened in one call anyway

# What a person does not see, or sees in another order: controls, separators, bidirectional marks, zero-width and other
# characters that render as nothing, halves of surrogate pairs. Variation selectors stay: emoji in file names have them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_HOME = re.compile(r"~[^/]*/|~\Z")

_STRAIGHT = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_WRITING = os.O_WRONLY | os.O_RDWR
_REOPENS = bool(O_PATH) and HAS_PROC_DESCRIPTORS


class ResolvedPath:
    """A canonical name, and a hold on what it names. Close it, or use it as a context manager.

    Attributes:
        asked: As the kernel named it; the name to use in errors.
        path: Absolute, links resolved, no `.` or `..`, as the file system spells it.
        relative: The same from the workspace, `""` for the workspace itself; None outside.
        descriptor: What is there, opened with `O_PATH`; None when nothing is.
        status: Of what is there, None when nothing is.
        parent_descriptor: The folder that holds it, or will: held when resolved with `must_exist=False`, else None.
        missing_folders: What has to be created in `parent_descriptor`, one in the other, before `name` can be.
        name: The last component; `""` for the workspace itself and for `/`.
        problem: Why it can't be used, told once the policy has allowed to know. Only outside of the workspace.
    """

    __slots__ = (
        "asked",
        "descriptor",
        "missing_folders",
        "name",
        "parent_descriptor",
        "path",
        "problem",
        "relative",
        "status",
    )

    def __init__(
        self,
        asked: str,
        path: str,
        relative: str | None,
        descriptor: int | None,
        status: os.stat_result | None,
        *,
        name: str = "",
        parent_descriptor: int | None = None,
        missing_folders: tuple[str, ...] = (),
        problem: CallError | None = None,
    ) -> None:
        self.asked = asked
        self.path = path
        self.relative = relative
        self.descriptor = descriptor
        self.status = status
        self.name = name
        self.parent_descriptor = parent_descriptor
        self.missing_folders = missing_folders
        self.problem = problem

    def __enter__(self) -> ResolvedPath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ResolvedPath({self.asked!r} -> {self.path!r})"

    @property
    def canonical(self) -> str:
        """The name for people and records: from the workspace if it lies there, else absolute."""
        return self.path if self.relative is None else self.relative or "."

    @property
    def kernel_name(self) -> str:
        """The name to give back to the kernel: from the workspace if it lies there, else as the kernel named it."""
        return self.asked if self.relative is None else self.relative or "."

    def close(self) -> None:
        """Let go. A second time does nothing."""
        for descriptor in (self.descriptor, self.parent_descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self.descriptor = self.parent_descriptor = None

    def resource(self, access: Access) -> PathResource:
        """What the policy looks at."""
        return PathResource(self.path, self.relative, access)

    def require_file(self, *, write: bool = False) -> os.stat_result:
        """Give the status of what is there, if it is a regular file that may be used.

        Raises:
            CallError: It is missing or not a file; or it is to be written and has several hard links, so that somewhere else
                would change as well.
        """
        if self.problem:
            raise self.problem
        if self.status is None:
            raise NotFoundError(f"{quoted(self.asked)} does not exist: list_files shows what does")
        if stat.S_ISLNK(self.status.st_mode):
            raise _is_link(self.asked)
        if not stat.S_ISREG(self.status.st_mode):
            raise not_a_file(self.asked, self.status.st_mode)
        if write and self.status.st_nlink > 1:
            raise DeniedError(
                f"{quoted(self.asked)} has {self.status.st_nlink} hard links, so writing it would change another file: "
                "copy it first",
                rule_id=RULE_ID,
            )
        return self.status

    def open(self, flags: int) -> int:
        """Open for real what was resolved, and nothing that took its name since.

        Args:
            flags: `os.O_RDONLY` and so on; never waits, whatever the file is.

        Raises:
            CallError: It is not a regular file, or the operating system refuses.
        """
        self.require_file(write=bool(flags & _WRITING))
        flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            if _REOPENS:
                return os.open(f"{PROC_DESCRIPTORS}/{self.descriptor}", flags)
            return self._open_by_name(flags)
        except OSError as error:
            raise path_error(error, self.asked) from None

    def open_current(self) -> int:
        """Open for reading what has the name now, in the folder that is held, if it may also be written.

        For who changes a file: between being resolved and being changed it may have been replaced, by another change.

        Raises:
            CallError: As `require_file`.
        """
        self.require_file(write=True)
        assert self.parent_descriptor is not None, "resolved with must_exist=False"
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(self.name, flags, dir_fd=self.parent_descriptor)
        except OSError as error:
            raise path_error(error, self.asked) from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise CallError(f"{quoted(self.asked)} was replaced while the call was decided about: call again")
        return descriptor

    def open_folder(self) -> int:
        """Open for listing the folder that was resolved.

        Raises:
            CallError: It is not a folder, or the operating system refuses.
        """
        if self.problem:
            raise self.problem
        if self.status is None or self.descriptor is None:
            raise NotFoundError(f"{quoted(self.asked)} does not exist: list_files shows what does")
        if not stat.S_ISDIR(self.status.st_mode):
            raise InvalidCallError(f"{quoted(self.asked)} is not a folder: name the folder it is in")
        try:
            return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        except OSError as error:
            raise path_error(error, self.asked) from None

    def check_folder(self, descriptor: int) -> None:
        """Make sure that a folder still is the one whose name was decided about, before something is put into it.

        Args:
            descriptor: `parent_descriptor`, or what `missing_folders` were made into.

        Raises:
            CallError: It was moved, or another one has its name.
        """
        if not _leads_to(os.path.dirname(self.path), os.fstat(descriptor)):  # noqa: PTH120 - a str on a hot way
            raise CallError(
                f"the folder of {quoted(self.asked)} was moved while the call was decided about: call again"
            )

    def _open_by_name(self, flags: int) -> int:
        # Without /proc there is no way from the hold to the file but its name, checked afterwards.
        assert self.parent_descriptor is not None
        assert self.status is not None
        descriptor = os.open(self.name, flags | os.O_NOFOLLOW, dir_fd=self.parent_descriptor)
        if not os.path.samestat(os.fstat(descriptor), self.status):
            os.close(descriptor)
            raise CallError(f"{quoted(self.asked)} was replaced while the call was decided about: call again")
        return descriptor


def resolve(workspace: str, path: str, *, must_exist: bool = True) -> ResolvedPath:
    """Find what `path` names.

    Args:
        workspace: Absolute and canonical.
        path: What the kernel wrote; hostile.
        must_exist: Whether something must be there. Where not, the parent folder is held as well, and a link in the last
            place is refused instead of followed: it is for what will be created or replaced.

    Raises:
        CallError: There is no such thing in the workspace, or the path may not be followed.
    """
    check_path(path)
    inside = _inside(workspace, path)
    if inside is None:
        return _resolve_outside(workspace, path, must_exist=must_exist)
    folder = _workspace_folder(workspace)
    try:
        if must_exist and _REOPENS and not folder.folds and (straight := _go_straight(folder, workspace, path, inside)):
            return straight
        walk = Walk(folder.descriptor, beneath=True, asked=path, follow_last=must_exist)
        resolved = _from_walked(walk.go(inside), workspace, path, base=workspace)
    except OSError as error:
        raise path_error(error, path) from None
    try:
        if must_exist and resolved.status is None:
            raise NotFoundError(f"{quoted(path)} does not exist: list_files shows what does")
        if resolved.status is not None and stat.S_ISLNK(resolved.status.st_mode):
            raise _is_link(path)
        if resolved.relative:
            check_path(f"./{resolved.relative}")  # a link may lead to a name that could not have been asked for
    except CallError:
        resolved.close()
        raise
    return resolved


def check_path(path: str) -> None:
    """Refuse what is not a path anybody could mean, before the operating system sees it.

    Raises:
        CallError: Empty, too long, or with characters that can't be seen.
    """
    if not path:
        raise InvalidCallError("the path is empty: '.' names the workspace")
    if len(path) > MAX_PATH_BYTES or len(path) * 4 > MAX_PATH_BYTES < len(path.encode(errors="surrogatepass")):
        raise InvalidCallError(f"the path is longer than {MAX_PATH_BYTES} bytes: shorten it")
    if not (path.isascii() and path.isprintable()) and (unseen := _UNSEEN.search(path)):
        raise InvalidCallError(
            f"the path has the character U+{ord(unseen[0]):04X} at position {unseen.start()}, which can't be seen: remove it"
        )
    if path[0] == "~" and _HOME.match(path):
        raise DeniedError(
            "'~' is not expanded: name the file from the workspace, or by its absolute path; './~' names a folder called '~'",
            rule_id=RULE_ID,
        )


def _inside(workspace: str, path: str) -> str | None:
    if path[0] != "/":
        return path
    if path == workspace or path.startswith(workspace if workspace == "/" else workspace + "/"):
        return path[len(workspace) :].lstrip("/") or "."
    return None


def _go_straight(folder: _Folder, workspace: str, asked: str, inside: str) -> ResolvedPath | None:
    """The short way: no link and no `..` on it, so the name is canonical as it stands. None when it isn't that simple."""
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    if ".." in parts or not is_available():
        return None
    try:
        descriptor = openat2(folder.descriptor, inside.encode(), O_PATH, _STRAIGHT)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV, errno.EAGAIN, errno.ENOSYS):
            return None
        raise
    relative = "/".join(parts)
    try:
        status = os.fstat(descriptor)
        if status.st_dev != folder.device and volumes.folds_names(descriptor):
            os.close(descriptor)
            return None
    except OSError:
        os.close(descriptor)
        raise
    path = f"{workspace.rstrip('/')}/{relative}" if relative else workspace
    return ResolvedPath(asked, path, relative, descriptor, status, name=parts[-1] if parts else "")


def _resolve_outside(workspace: str, path: str, *, must_exist: bool) -> ResolvedPath:
    root = os.open("/", O_PATH | os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    walk = Walk(root, beneath=False, asked=path, follow_last=must_exist)
    try:
        resolved = _from_walked(walk.go(path), workspace, path, base="/")
        if resolved.status is not None and stat.S_ISLNK(resolved.status.st_mode):
            resolved.problem = _is_link(path)
    except OSError as error:
        names = walk.unreached()
        if ".." in names:
            raise DeniedError(
                f"{quoted(path)} goes back by '..' from what can't be entered: leave out the detour", rule_id=RULE_ID
            ) from None
        resolved = _named(path, "/", names, workspace)
        resolved.problem = path_error(error, path)
    finally:
        os.close(root)
    try:
        check_path(resolved.path)
    except CallError:
        resolved.close()
        raise
    return resolved


def _from_walked(walked: Walked, workspace: str, asked: str, *, base: str) -> ResolvedPath:
    resolved = _named(asked, base, walked.names, workspace)
    resolved.descriptor = walked.descriptor
    resolved.status = walked.status
    resolved.parent_descriptor = walked.parent_descriptor
    if walked.missing:
        resolved.missing_folders = tuple(walked.names[-walked.missing : -1])
    return resolved


def _named(asked: str, base: str, names: list[str], workspace: str) -> ResolvedPath:
    path = "/".join([base.rstrip("/"), *names]) or "/"
    relative = _inside(workspace, path)
    if relative == ".":
        relative = ""
    return ResolvedPath(asked, path, relative, None, None, name=names[-1] if names else "")


def _leads_to(path: str, status: os.stat_result) -> bool:
    """Whether a canonical path, walked without following any link, leads to what has this status."""
    root = os.open("/", O_PATH | os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walked = Walk(root, beneath=False, asked=path).go(path)
    except (OSError, CallError):
        return False
    finally:
        os.close(root)
    for descriptor in (walked.descriptor, walked.parent_descriptor):
        if descriptor is not None:
            os.close(descriptor)
    return (
        "/" + "/".join(walked.names) == path and walked.status is not None and os.path.samestat(walked.status, status)
    )


def _is_link(path: str) -> CallError:
    return DeniedError(f"{quoted(path)} is a link: name the file it points to, or remove the link", rule_id=RULE_ID)


class _Folder:
    """A workspace held open. Closed when the last user is done with it: a number closed under somebody may be reused."""

    __slots__ = ("descriptor", "device", "folds", "inode")

    def __init__(self, path: str) -> None:
        flags = O_PATH | os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(path, flags)
        status = os.fstat(self.descriptor)
        self.device, self.inode = status.st_dev, status.st_ino
        self.folds = volumes.folds_names(self.descriptor)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


_MAX_FOLDERS = 16  # a session has one
_folders: dict[str, _Folder] = {}
_folders_lock = threading.Lock()


def _workspace_folder(workspace: str) -> _Folder:
    folder = _folders.get(workspace)
    try:
        status = os.lstat(workspace)
        if folder and status.st_ino == folder.inode and status.st_dev == folder.device:
            return folder
        folder = _Folder(workspace)
    except OSError:
        raise CallError("the workspace is no longer there: make the folder again, or restart the session") from None
    with _folders_lock:
        while len(_folders) >= _MAX_FOLDERS:
            del _folders[next(iter(_folders))]
        _folders[workspace] = folder
    return folder
