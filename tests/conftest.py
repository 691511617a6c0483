"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have pytest make its folder now: the first to ask might have a temporary folder of its own, and take it away."""
    tmp_path_factory.getbasetemp()
