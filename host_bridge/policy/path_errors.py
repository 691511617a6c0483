"""From what the operating system said to what the kernel is told, naming things only as the kernel named them."""

from __future__ import annotations

import errno
import stat

from host_bridge.errors import CallError, DeniedError, InvalidCallError, NotFoundError

RULE_ID = "builtin:paths"
"""Stands where a rule's id stands when no rule was needed to say no."""

_SHOWN_CHARACTERS = 200  # of a path, in an error; a path may have 4096


def quoted(path: str) -> str:
    """Give a path for a sentence: quoted, and shortened in the middle when long."""
    if len(path) > _SHOWN_CHARACTERS:
        half = _SHOWN_CHARACTERS // 2
        path = f"{path[:half]}…{path[-half:]}"
    return f"'{path}'"


def path_error(error: OSError, path: str) -> CallError:
    """Translate what happened to `path`, which is named as the kernel named it."""
    name = quoted(path)
    match error.errno:
        case errno.ENOENT:
            return NotFoundError(f"{name} does not exist: list_files shows what does")
        case errno.ENOTDIR:
            return NotFoundError(f"{name} goes through something that is not a folder: list_files shows what there is")
        case errno.EXDEV:
            return left_workspace(path)
        case errno.ELOOP:
            return DeniedError(f"{name} goes through too many links: name the file itself", rule_id=RULE_ID)
        case errno.ENAMETOOLONG:
            return InvalidCallError(f"{name} has a part that is too long for the file system: shorten it")
        case errno.EACCES | errno.EPERM:
            return CallError(f"{name} is closed to the user the host runs as: change its mode or owner")
        case errno.ENOSPC | errno.EDQUOT:
            return CallError(
                f"no space is left for {name}: free some and call again; what was there before is unchanged"
            )
        case errno.EROFS:
            return CallError(f"{name} is on a read-only file system: write elsewhere")
        case errno.EISDIR:
            return InvalidCallError(f"{name} is a folder: name a file")
        case errno.EMFILE | errno.ENFILE:
            return CallError(f"the host has too many files open for {name}: call again when other calls have ended")
        case _:
            return CallError(f"{name} could not be used: {error.strerror or type(error).__name__}")


def left_workspace(path: str) -> CallError:
    """A relative path that would leave the workspace."""
    return DeniedError(
        f"{quoted(path)} leads out of the workspace, by '..' or by a link: a relative path may not",
        rule_id=RULE_ID,
        remedy="name what is meant by its absolute path, which the policy can then decide about",
    )


def not_a_file(path: str, mode: int) -> CallError:
    """Something that is there and can't be read or written as a file."""
    name = quoted(path)
    if stat.S_ISDIR(mode):
        return InvalidCallError(f"{name} is a folder: list_files shows what is in it")
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    kind = kinds.get(stat.S_IFMT(mode), "not a regular file")
    return DeniedError(f"{name} is {kind}: only regular files can be read or written", rule_id=RULE_ID)


def is_link(path: str) -> CallError:
    """A link where what will be written must be named itself."""
    return DeniedError(f"{quoted(path)} is a link: name the file it points to, or remove the link", rule_id=RULE_ID)
