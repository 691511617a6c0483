"""Edits to lines, checked against the standard library's opinion and the system's own patch program."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_bridge.tools.line_edits import Edit, apply_edits, split_lines, trimmed, unified_diff
from host_bridge.tools.text_replacement import MAX_REPLACEMENTS, ReplacementError, replace_text

TEXTS = st.lists(st.sampled_from([b"a", b"b", b"aa", b"\n", b"\n", b"x"]), max_size=40).map(b"".join)


def test_lines_keep_their_endings_and_the_last_may_lack_one() -> None:
    assert split_lines(b"a\r\nb\x0c\rc\n\nd") == [b"a\r\n", b"b\x0c\rc\n", b"\n", b"d"]
    assert split_lines(b"") == []
    assert split_lines(b"\n") == [b"\n"]


def test_what_stays_the_same_is_trimmed_from_an_edit() -> None:
    assert trimmed(Edit(3, (b"a", b"b", b"c"), (b"a", b"x", b"c"))) == Edit(4, (b"b",), (b"x",))
    assert trimmed(Edit(3, (b"a", b"a"), (b"a",))) == Edit(4, (b"a",), ())
    assert trimmed(Edit(0, (b"a",), (b"a",))) is None


@given(content=TEXTS, old=st.sampled_from([b"a", b"aa", b"\n", b"a\n", b"\na", b"b", b"a\nb"]), new=TEXTS)
@settings(max_examples=1000, deadline=None)
def test_replacing_all_by_lines_gives_what_replacing_bytes_gives(content: bytes, old: bytes, new: bytes) -> None:
    if old not in content:
        with pytest.raises(ReplacementError):
            replace_text(content, old, new, every=True)
        return
    edits, count = replace_text(content, old, new, every=True)
    assert apply_edits(split_lines(content), edits) == content.replace(old, new)
    assert count == content.count(old)
    for before, after in itertools.pairwise(edits):
        assert before.end <= after.start


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the patch program")
@given(content=TEXTS, old=st.sampled_from([b"a", b"\n", b"a\n", b"b"]), new=TEXTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_diff_is_one_that_patch_understands(tmp_path: Path, content: bytes, old: bytes, new: bytes) -> None:
    if old not in content or content.replace(old, new) in (content, b""):
        return
    lines = split_lines(content)
    edits, _ = replace_text(content, old, new, every=True)
    diff = "\n".join(unified_diff("f", "f", lines, edits)) + "\n"
    (tmp_path / "f").write_bytes(content)
    subprocess.run(["patch", "-p1", "--no-backup-if-mismatch", "-s"], input=diff.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "f").read_bytes() == content.replace(old, new)


def test_a_diff_shows_three_lines_around_each_change_and_joins_what_is_near() -> None:
    lines = [f"{number}\n".encode() for number in range(1, 31)]
    edits = [Edit(4, (b"5\n",), (b"five\n",)), Edit(9, (), (b"new\n",)), Edit(29, (b"30\n",), (b"thirty",))]
    assert list(unified_diff("old", "new", lines, edits)) == [
        "--- a/old",
        "+++ b/new",
        "@@ -2,11 +2,12 @@",
        *(" 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8", " 9", "+new", " 10", " 11", " 12"),
        "@@ -27,4 +28,4 @@",
        *(" 27", " 28", " 29", "-30", "+thirty", "\\ No newline at end of file"),
    ]


def test_a_created_and_a_removed_file_are_told_from_the_null_device() -> None:
    assert list(unified_diff(None, "f", [], [Edit(0, (), (b"x\n",))]))[:3] == [
        "--- /dev/null",
        "+++ b/f",
        "@@ -0,0 +1 @@",
    ]
    gone = list(unified_diff("f", None, [b"x\n"], [Edit(0, (b"x\n",), ())]))
    assert gone == ["--- a/f", "+++ /dev/null", "@@ -1 +0,0 @@", "-x"]


class TestReplaceText:
    def test_a_text_that_occurs_twice_is_not_replaced_and_both_places_are_named(self) -> None:
        with pytest.raises(ReplacementError, match="more than once, at lines 1, 3:"):
            replace_text(b"x\ny\nx\n", b"x", b"z", every=False)

    def test_places_that_overlap_count_as_two(self) -> None:
        with pytest.raises(ReplacementError, match="more than once"):
            replace_text(b"aaa", b"aa", b"b", every=False)

    def test_many_places_are_not_all_named(self) -> None:
        with pytest.raises(ReplacementError, match="1, 2, 3, 4, 5 and more"):
            replace_text(b"x\n" * 100, b"x", b"z", every=False)

    def test_a_text_that_is_there_but_for_white_space_is_pointed_at(self) -> None:
        with pytest.raises(ReplacementError, match="but for white space it is at line 2"):
            replace_text(b"if x:\n\tgo()\n", b"    go()", b"stop()", every=False)

    def test_plain_newlines_find_their_place_in_a_file_of_the_other_kind(self) -> None:
        content = b"a\r\nb\r\nc\r\n"
        edits, _ = replace_text(content, b"a\nb", b"x\ny\nz", every=False)
        assert apply_edits(split_lines(content), edits) == b"x\r\ny\r\nz\r\nc\r\n"

    def test_endings_that_are_mixed_are_taken_literally(self) -> None:
        with pytest.raises(ReplacementError, match="not in the file"):
            replace_text(b"a\r\nb\nc\n", b"a\nb", b"x", every=False)

    def test_other_encodings_stay_what_they_are(self) -> None:
        content = "größe = 1\n".encode("latin-1") + b"x = 2\n"
        edits, _ = replace_text(content, b"x = 2", "x = ü".encode(), every=False)
        assert apply_edits(split_lines(content), edits) == "größe = 1\n".encode("latin-1") + "x = ü\n".encode()

    def test_a_hundred_thousand_places_on_one_line_take_a_moment(self) -> None:
        edits, count = replace_text(b"a\n" * MAX_REPLACEMENTS, b"\n", b"", every=True)
        assert count == MAX_REPLACEMENTS
        assert len(edits) == 1

    def test_more_places_are_left_to_programs(self) -> None:
        with pytest.raises(ReplacementError, match="by a program"):
            replace_text(b"a" * (MAX_REPLACEMENTS + 1), b"a", b"b", every=True)
