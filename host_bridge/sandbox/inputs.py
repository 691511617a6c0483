"""A launch's inputs as memory files, whose numbers its command names."""

from __future__ import annotations

import os
from collections.abc import Mapping

from host_bridge.sandbox.spec import Launch


class Inputs:
    """The memory files of one start, until the process has them.

    Args:
        launch: What is started.
        numbers: Descriptors that its command names besides, by name.

    Attributes:
        argv: The command with the descriptors' numbers in place.
        descriptors: What the process must inherit.
    """

    def __init__(self, launch: Launch, numbers: Mapping[str, int]) -> None:
        self._own: list[int] = []
        try:
            known = {name: str(number) for name, number in numbers.items()}
            for name, content in launch.inputs.items():
                if name != "arguments":
                    known[name] = str(self._memory_file(name, content))
            if "arguments" in launch.inputs:
                parts = launch.inputs["arguments"].decode(errors="surrogateescape").split("\0")
                filled = "\0".join(_fill(part, known) for part in parts)
                known["arguments"] = str(self._memory_file("arguments", filled.encode(errors="surrogateescape")))
        except BaseException:
            self.close()
            raise
        self.argv = [_fill(part, known) for part in launch.argv]
        self.descriptors = (*self._own, *numbers.values())

    def close(self) -> None:
        """Let go of the files: the process has them, or there is none."""
        for descriptor in self._own:
            os.close(descriptor)
        self._own.clear()

    def _memory_file(self, name: str, content: bytes) -> int:
        descriptor = os.memfd_create(f"hermes-{name.replace(' ', '-')}", os.MFD_CLOEXEC)
        self._own.append(descriptor)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor


def _fill(part: str, numbers: Mapping[str, str]) -> str:
    # Only a part that is a placeholder as a whole: a path may hold braces of its own.
    return numbers.get(part[1:-1], part) if part[:1] == "{" and part[-1:] == "}" else part
