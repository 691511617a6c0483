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

from host_bridge.errors import CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy import volumes
from host_bridge.policy.openat2 import (
    O_PATH,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    is_available,
    openat2,
)
from host_bridge.policy.path_errors import RULE_ID, is_link, path_error, quoted
from host_bridge.policy.resolved import REOPENS, ResolvedPath
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
        if must_exist and REOPENS and not folder.folds and (straight := _go_straight(folder, workspace, path, inside)):
            return straight
        walk = Walk(folder.descriptor, beneath=True, asked=path, follow_last=must_exist)
        resolved = _from_walked(walk.go(inside), workspace, path, base=workspace)
    except OSError as error:
        raise path_error(error, path) from None
    try:
        if must_exist and resolved.status is None:
            raise NotFoundError(f"{quoted(path)} does not exist: list_files shows what does")
        if resolved.status is not None and stat.S_ISLNK(resolved.status.st_mode):
            raise is_link(path)
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
            resolved.problem = is_link(path)
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
