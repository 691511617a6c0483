"""What file system something lies on: whether it answers at once, and whether it folds names.

A file system is known by the magic number statfs gives; each device is asked once. Unknown ones count as remote and as
plain, which costs a worker thread and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import sys

# linux/magic.h. Those whose files are on a disk or in memory of this machine.
_LOCAL = frozenset(
    {
        0x0000EF53,  # ext2, ext3, ext4
        0x9123683E,  # btrfs
        0x58465342,  # xfs
        0xF2F52010,  # f2fs
        0x2FC12FC1,  # zfs
        0xCA451A4E,  # bcachefs
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
        0x794C7630,  # overlayfs
        0x73717368,  # squashfs
        0xE0F5E1E2,  # erofs
        0x00004D44,  # msdos, vfat
        0x2011BAB0,  # exfat
        0x7366746E,  # ntfs3
    }
)

# Those where `.GIT`, or a short name such as `GIT~1`, opens `.git`.
_FOLDING = frozenset(
    {
        0x00004D44,  # msdos, vfat
        0x2011BAB0,  # exfat
        0x7366746E,  # ntfs3
        0x5346544E,  # ntfs
        0x65735546,  # fuse: ntfs-3g, exfat, sshfs to a Mac; nobody can tell
        0xFF534D42,  # cifs
        0xFE534D42,  # smb2
        0x01021997,  # 9p: how WSL shows Windows drives
        0x786F4256,  # vboxsf
        0x0000482B,  # hfs+
        0x00004244,  # hfs
    }
)

_PROC = 0x00009FA0

_PORTABLE = sys.platform != "linux"
_FOLDS_EVERYWHERE = sys.platform == "darwin"

_magic_by_device: dict[int, int] = {}

if not _PORTABLE:
    _fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
    _fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)
    _fstatfs.restype = ctypes.c_int


def is_local(path: str) -> bool:
    """Whether `path` lies on a file system of this machine, so that looking at it doesn't wait for a network.

    False for what doesn't exist.
    """
    if _PORTABLE:
        return True
    try:
        known = _magic_by_device.get(os.stat(path).st_dev)  # noqa: PTH116 - on the way of every quick call
        if known is not None:
            return known in _LOCAL
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_PATH", 0))
    except OSError:
        return False
    try:
        return is_local_descriptor(descriptor)
    finally:
        os.close(descriptor)


def is_local_descriptor(descriptor: int) -> bool:
    """`is_local` for something already open."""
    return _PORTABLE or _magic(descriptor) in _LOCAL


def folds_names(descriptor: int) -> bool:
    """Whether several spellings may open the same entry of this folder."""
    return _FOLDS_EVERYWHERE or (not _PORTABLE and _magic(descriptor) in _FOLDING)


def is_proc(descriptor: int) -> bool:
    """Whether it is the kernel's process file system, some of whose links lead anywhere."""
    return not _PORTABLE and _magic(descriptor) == _PROC


def _magic(descriptor: int) -> int:
    device = os.fstat(descriptor).st_dev  # asked here: a folder and what is mounted in it must never be mixed up
    magic = _magic_by_device.get(device)
    if magic is None:
        buffer = ctypes.create_string_buffer(256)  # struct statfs has 120 bytes on 64-bit machines, 64 on 32-bit ones
        if _fstatfs(descriptor, buffer) != 0:
            return 0
        size = ctypes.sizeof(ctypes.c_long)
        magic = int.from_bytes(buffer.raw[:size], sys.byteorder) & 0xFFFFFFFF
        if len(_magic_by_device) > 256:  # devices come and go with mounts, and numbers are used again
            _magic_by_device.clear()
        _magic_by_device[device] = magic
    return magic
