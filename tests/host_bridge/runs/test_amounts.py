"""Amounts are read at a glance, whatever the number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.runs.amounts import size, took


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 ms"),
        (0.0042, "4.2 ms"),
        (0.2204, "220 ms"),
        (0.9999, "1.0 s"),
        (12.34, "12.3 s"),
        (99.96, "1 min 40 s"),
        (307.9, "5 min 8 s"),
        (3599.9, "1 h 0 min"),
        (11_520, "3 h 12 min"),
        (-1.0, "?"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_a_duration(seconds: float, told: str) -> None:
    assert took(seconds) == told


@pytest.mark.parametrize(("count", "told"), [(0, "0 B"), (812, "812 B"), (1434, "1.4 KiB"), (3 * 2**20, "3.0 MiB")])
def test_a_size(count: int, told: str) -> None:
    assert size(count) == told


@given(st.floats())
def test_every_number_has_a_duration(seconds: float) -> None:
    assert took(seconds)
