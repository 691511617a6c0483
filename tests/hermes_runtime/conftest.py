from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sdk_hosts import Place, bridge_place, fake_place


@pytest.fixture(params=["fake", "bridge"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each host in turn: what a test says of it is the contract that both keep."""
    folder = Path(tempfile.mkdtemp(prefix="ht-", dir="/tmp"))
    try:
        with fake_place(folder) if request.param == "fake" else bridge_place() as made:
            yield made
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def bridge() -> Iterator[Place]:
    """A real bridge session, for what only it does."""
    with bridge_place() as made:
        yield made
