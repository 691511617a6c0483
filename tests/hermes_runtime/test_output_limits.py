"""A cell's output is cut where it is made, counted exactly, and said."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_runtime._output_limits import (
    DEFAULT_LIMIT_BYTES,
    MAX_ERROR_TEXT,
    OutputAccount,
    _limit_from,
    bundle_bytes,
    shorten,
    shorten_lines,
)


def printed(account: OutputAccount, *texts: str) -> str:
    """Give what gets through, without the note."""
    return "".join(account.admit_text(text) for text in texts).partition("\n[hermes-runtime]")[0]


@given(st.lists(st.text(), max_size=20), st.integers(1, 200))
def test_what_is_kept_and_what_is_left_out_make_the_whole(texts: list[str], limit: int) -> None:
    account = OutputAccount(limit)
    kept = printed(account, *texts)

    whole = "".join(texts)
    assert whole.startswith(kept)
    kept_bytes = len(kept.encode(errors="replace"))
    assert kept_bytes <= limit
    assert account.left_out_bytes == len(whole.encode(errors="replace")) - kept_bytes
    assert bool(account.note()) == bool(account.left_out_bytes)


def test_the_first_text_over_the_limit_says_so_and_later_ones_are_silent() -> None:
    account = OutputAccount(10)

    assert account.admit_text("12345678") == "12345678"
    assert account.admit_text("90ab").startswith("90\n[hermes-runtime] This cell has printed 10 bytes.")
    assert account.admit_text("more") == ""
    assert "6 bytes of this cell's output in 2 pieces were left out" in account.note()


def test_a_character_is_not_cut_in_two() -> None:
    account = OutputAccount(5)

    assert printed(account, "ééé") == "éé"
    assert account.left_out_bytes == 2


def test_each_cell_starts_over() -> None:
    account = OutputAccount(3)
    account.admit_text("12345")

    account.begin_cell()

    assert account.admit_text("123") == "123"
    assert account.note() == ""


def test_what_a_cell_clears_makes_room_again() -> None:
    account = OutputAccount(3)

    for _ in range(5):
        account.clear()
        assert account.admit_text("123") == "123"
        assert account.admit_display(3)
    assert account.note() == ""


def test_no_limit_leaves_everything() -> None:
    account = OutputAccount(0)

    assert account.admit_text("x" * 10**6) == "x" * 10**6
    assert account.admit_display(2**40)


def test_an_update_takes_the_place_of_what_was_displayed() -> None:
    account = OutputAccount(100)

    assert account.admit_display(80, "plot")
    assert all(account.admit_display(90, "plot", update=True) for _ in range(50))
    assert not account.admit_display(101, "plot", update=True)
    assert not account.admit_display(20)
    assert account.left_out_bytes == 121


def test_threads_are_counted_together() -> None:
    account = OutputAccount(1000)
    threads = [threading.Thread(target=lambda: [account.admit_text("x") for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert account.left_out_bytes == 4 * 5000 - 1000


def test_a_child_forked_while_another_thread_printed_can_print() -> None:
    account = OutputAccount(1000)
    holding, end = threading.Event(), threading.Event()

    def hold() -> None:
        with account._lock:
            holding.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    child = os.fork()
    if child == 0:
        account.survive_fork()
        os._exit(0 if account.admit_text("x") == "x" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    end.set()
    thread.join()


@pytest.mark.parametrize(
    ("bundle", "size"),
    [
        ({"text/plain": "abc"}, 3),
        ({"text/plain": "é", "text/html": "x"}, 3),
        ({"image/png": b"x" * 300}, 400),
        ({"application/json": {"a": [1, 2]}}, 13),
        ({"application/json": {"a": object()}, "text/plain": "x"}, 1),
    ],
)
def test_a_bundle_has_the_size_it_takes_in_a_message(bundle: dict[str, object], size: int) -> None:
    assert bundle_bytes(bundle) == size or size == 1


@pytest.mark.parametrize(
    ("text", "limit"), [("123", 123), ("0", 0), ("", DEFAULT_LIMIT_BYTES), ("-1", DEFAULT_LIMIT_BYTES)]
)
def test_the_limit_comes_from_the_environment(text: str, limit: int) -> None:
    assert _limit_from({"HERMES_RUNTIME_OUTPUT_BYTES": text}) == limit
    assert _limit_from({}) == DEFAULT_LIMIT_BYTES


def test_an_error_that_nobody_can_read_is_shortened_in_the_middle() -> None:
    text = "begin" + "x" * 10**7 + "end"

    short = shorten(text)

    assert len(short) < MAX_ERROR_TEXT + 100
    assert (short[:5], short[-3:]) == ("begin", "end")
    assert f"{len(text) - MAX_ERROR_TEXT:,} characters left out" in short
    assert shorten("short") == "short"


@pytest.mark.parametrize("lines", [["x" * 10**6] * 3, ["line"] * 10**5, ["x" * 10**4] * 1000])
def test_a_traceback_that_nobody_can_read_is_shortened(lines: list[str]) -> None:
    short = shorten_lines(lines)

    assert sum(map(len, short)) < 2 * MAX_ERROR_TEXT + 300 * 100
    assert shorten_lines(["a", "b"]) == ["a", "b"]
