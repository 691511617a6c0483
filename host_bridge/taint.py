"""Whether a session has been given content that somebody untrusted may have written, and from where first.

Text can hold instructions, and whoever reads it may follow them. So from the first such content on, the policy's brake asks
before the session acts (`policy.brake`). Known here and nowhere else: a kernel can't take it back, and a restart of the kernel
doesn't, since what it read may lie in a file by now.
"""

from __future__ import annotations

import threading


class Taint:
    """See the module. Thread-safe.

    Attributes:
        source: Where the first such content came from, for people; empty while there was none.
        count: How many calls have given some.
    """

    def __init__(self) -> None:
        self.source = ""
        self.count = 0
        self._lock = threading.Lock()

    def note(self, source: str) -> bool:
        """Count one more call that gives such content. Gives whether it is the first."""
        with self._lock:
            self.count += 1
            is_first = not self.source
            self.source = self.source or source
            return is_first
