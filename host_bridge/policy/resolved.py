"""A path that was resolved: its canonical name, and a hold on what it names."""

from __future__ import annotations

import os
import stat
from types import TracebackType

from host_bridge.errors import CallError, DeniedError, InvalidCallError, NotFoundError
from host_bridge.policy.model import Access, PathResource
from host_bridge.policy.openat2 import HAS_PROC_DESCRIPTORS, O_PATH, PROC_DESCRIPTORS
from host_bridge.policy.path_errors import RULE_ID, is_link, not_a_file, path_error, quoted
from host_bridge.policy.walking import Walk

REOPENS = bool(O_PATH) and HAS_PROC_DESCRIPTORS
"""Whether a hold can be turned into the real thing without its name."""

_WRITING = os.O_WRONLY | os.O_RDWR


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
            raise is_link(self.asked)
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
            if REOPENS:
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
