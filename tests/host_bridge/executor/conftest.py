from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernel_machine import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Private folders for kernels, sockets, logs and settings; see `kernel_machine`."""
    made = Machine(Path(tempfile.mkdtemp(prefix="hm-", dir="/tmp")))
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.workspace)
    yield made
    made.end()
