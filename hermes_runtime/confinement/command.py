"""The first program in a command's sandbox: takes by Landlock what is to be taken, then is the command.

    python -I -S command.py STARTED FILE

STARTED is a descriptor that gets one byte when nothing but the command itself can fail any more. FILE holds, each followed by
a NUL: the Landlock ruleset in hexadecimal digits (or nothing), the folder to run in, its device and inode, the shell, the
command line, the search path; then, each list after its length: the variables, the words of a line that is one plain command,
and three by three the paths with the rights left there.

Run as a file, without site-packages and importing next to nothing: it stands before every command. `compiling` makes the
numbers.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import errno
import os
import sys

EXIT_NOT_CONFINED = 78  # sysexits' EX_CONFIG
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_FOLDER_TYPE, _TYPE_MASK = 0o040000, 0o170000


def main(started: int, file: str) -> None:
    """See the module."""
    try:
        with open(file, "rb") as source:
            fields = iter(source.read().split(b"\0"))
        ruleset, folder, identity, shell, line, search_path = (next(fields) for _ in range(6))
        environment = dict(pair.split(b"=", 1) for pair in _list(fields))
        words = _list(fields)
        rules = _list(fields)
        # Ignored until here, so that what tells the command to end leaves its sandbox standing.
        _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
        os.chdir(folder)
        _check_folder(identity)
        if ruleset:
            _restrict(bytes.fromhex(ruleset.decode()), rules)
    except (OSError, ValueError, StopIteration, RuntimeError) as error:
        print(f"the command could not be confined: {error}", file=sys.stderr)
        raise SystemExit(EXIT_NOT_CONFINED) from None
    _say_started(started)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # which Python ignores
        _signal.signal(number, _signal.SIG_DFL)
    _become(shell, line, search_path, words, environment)


def _say_started(descriptor: int) -> None:
    try:
        os.write(descriptor, b"1")
    except BrokenPipeError:
        return  # nobody asks, as for a command in the background
    finally:
        os.close(descriptor)


def _list(fields) -> list[bytes]:  # type: ignore[no-untyped-def]  # an annotation would cost an import
    return [next(fields) for _ in range(int(next(fields)))]


def _check_folder(identity: bytes) -> None:
    """See whether this is the folder that was approved, whatever its name leads to by now."""
    here = os.stat(".")  # noqa: PTH116 - pathlib costs more than the rest of this file
    if b"%d:%d" % (here.st_dev, here.st_ino) != identity:
        raise RuntimeError("its folder was replaced by another one meanwhile")


def _restrict(attribute: bytes, rules: list[bytes]) -> None:
    import ctypes

    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long

    def check(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"Landlock: {os.strerror(number)}")
        return result

    ruleset = check(call(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0))
    for path, in_folder, on_file in zip(rules[::3], rules[1::3], rules[2::3], strict=True):
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue  # what doesn't exist needs no permission
        is_folder = os.fstat(descriptor).st_mode & _TYPE_MASK == _FOLDER_TYPE
        if rights := int(in_folder if is_folder else on_file):
            rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
            check(call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
        os.close(descriptor)
    check(call(_RESTRICT_SELF, ruleset, 0))  # bubblewrap has forbidden new privileges
    os.close(ruleset)


def _become(shell: bytes, line: bytes, search_path: bytes, words: list[bytes], environment: dict[bytes, bytes]) -> None:
    """Be the command: directly if it is one plain command that is found, else by the shell, which says what a shell says."""
    for path in _places(words, search_path):
        try:
            os.execve(path, words, environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                break  # a script without a first line, say
    bash = (b"bash", b"--norc", b"--noprofile") if shell.endswith(b"/bash") else (b"sh",)
    # `--`, or a line that begins with a dash would be taken for options.
    os.execve(shell, (*bash, b"-c", b"--", line), environment)


def _places(words: list[bytes], search_path: bytes) -> list[bytes]:
    if not words:
        return []
    name = words[0]
    return [name] if b"/" in name else [folder + b"/" + name for folder in search_path.split(b":")]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
