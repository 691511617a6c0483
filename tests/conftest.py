"""What all tests share."""

from __future__ import annotations

import os

import pytest


def pytest_xdist_auto_num_workers() -> int:
    """Give one worker more than there are processors: most tests wait for processes more than they compute."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session", autouse=True)
def _temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have pytest make its folder now: the first to ask might have a temporary folder of its own, and take it away."""
    tmp_path_factory.getbasetemp()
