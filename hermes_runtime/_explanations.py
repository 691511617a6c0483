"""What a confined kernel adds to an error of the system's: that it is confined, and what works instead.

The system says "permission denied" and not who denied it. The note is only added where confinement may be the reason, and it
says "may".
"""

from __future__ import annotations

import errno
import os

from hermes_protocol.confinement import CONFINEMENT_VARIABLE

_REFUSALS = frozenset({errno.EACCES, errno.EPERM})
_SOCKET_REFUSALS = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP})
_BACKENDS = {"landlock": "Landlock alone", "self": "itself, by Landlock alone"}

_START = "this kernel is confined by {by}, which may be the reason:"
_FILES = (
    "of files it reaches its workspace and its interpreter, and makes new ones only in folders of the workspace that were "
    "there when it started, in {temporary}, or by hermes.write_file()"
)
_SOCKETS = (
    "nothing in it may connect to anything, and it has no internet sockets; web_search(), web_extract(), http_request() and "
    "terminal() of hermes reach what the policy allows"
)
_OTHERS = (
    "it may not connect to anything, and has no shared memory, hence no locks, queues and pools of multiprocessing (threads, "
    "subprocess and multiprocessing.Process with a Pipe work); bubblewrap, installed on the host, allows these"
)


def explanation(error: BaseException) -> str:
    """Give what to say about an error in this kernel, empty if there is nothing."""
    by = _BACKENDS.get(os.environ.get(CONFINEMENT_VARIABLE, ""))
    if by is None or not isinstance(error, OSError):
        return ""
    if error.errno in _SOCKET_REFUSALS:
        reason = _SOCKETS
    elif error.errno not in _REFUSALS:
        return ""
    else:
        reason = _FILES if _is_about_file(error) else _OTHERS
    return _START.format(by=by) + " " + reason.format(temporary=os.environ.get("TMPDIR", "/tmp"))


def explain(error: BaseException) -> None:
    """Add the explanation to an error, as a note, once."""
    text = explanation(error)
    if text and text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def _is_about_file(error: OSError) -> bool:
    # Shared memory has a name too, which is no path anybody gave.
    name = error.filename
    return isinstance(name, str | bytes) and not os.fsdecode(name).startswith(("/psm_", "/mp-"))
