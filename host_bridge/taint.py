"""Whether a session has been given content that somebody untrusted may have written, and from where first.

Text can hold instructions, and whoever reads it may follow them. So from the first such content on, the policy's brake asks
before the session acts (`policy.brake`). Known here and nowhere else: a kernel can't take it back, and a restart of the kernel
doesn't, since what it read may lie in a file by now.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Taint:
    """See the module. Thread-safe.

    Attributes:
        source: Where the first such content came from, for people; empty while there was none.
        count: How many calls have given some.
    """

    def __init__(self) -> None:
        self.source = ""
        self.count = 0
        self._is_recorded = False
        self._lock = threading.Lock()

    def note(self, source: str, record: Callable[[], None]) -> None:
        """Count one more call that is about to give such content.

        Args:
            source: Where that comes from.
            record: Writes down that the session is given such content: done for the first, before it is given. If it raises,
                nothing may be given; the session is braked already, and the next call is the first.
        """
        with self._lock:
            if not self._is_recorded:
                self.source = source
                record()
                self._is_recorded = True
            self.count += 1
