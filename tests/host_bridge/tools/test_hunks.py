"""Where the hunks of a V4A patch go."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.tools.hunks import place_hunks
from host_bridge.tools.line_edits import apply_edits, split_lines
from host_bridge.tools.v4a import PatchError, parse_patch


def patched(content: bytes, *lines: str) -> bytes:
    text = "\n".join(["*** Begin Patch", "*** Update File: f", *lines, "*** End Patch"])
    (file,) = parse_patch(text)
    return apply_edits(split_lines(content), place_hunks(file.hunks, content))


class TestPlacing:
    def test_a_hunk_goes_where_its_lines_are(self) -> None:
        assert patched(b"a\nb\nc\n", "@@", " a", "-b", "+B", "+BB", " c") == b"a\nB\nBB\nc\n"

    def test_hunks_follow_one_another(self) -> None:
        assert patched(b"x\na\nx\nb\n", "-x", "+1", " a", "@@", "-x", "+2", " b") == b"1\na\n2\nb\n"

    def test_a_hunk_before_the_one_before_it_is_refused(self) -> None:
        with pytest.raises(PatchError, match=r"hunk 2: .* not in the file behind line 2"):
            patched(b"a\nb\n", "-b", "+B", "@@", "-a", "+A")

    def test_a_hunk_that_fits_twice_is_refused(self) -> None:
        with pytest.raises(PatchError, match="fits at lines 1, 3"):
            patched(b"x\ny\nx\n", "-x", "+z")

    def test_a_header_says_which_place_is_meant(self) -> None:
        content = b"def f():\n    return 1\n\ndef g():\n    return 1\n\ndef h():\n    return 1\n"
        expected = b"def f():\n    return 1\n\ndef g():\n    return 2\n\ndef h():\n    return 1\n"
        assert patched(content, "@@ def g():", "-    return 1", "+    return 2") == expected

    def test_headers_narrow_one_another_and_may_lack_indentation(self) -> None:
        content = b"class A:\n    def f():\n        x\nclass B:\n    def f():\n        x\n"
        assert patched(content, "@@ class B:", "@@ def f():", "-        x", "+        y").endswith(b"        y\n")

    def test_a_missing_header_is_an_error(self) -> None:
        with pytest.raises(PatchError, match="'@@ def q"):
            patched(b"x\n", "@@ def q():", "-x", "+y")

    def test_line_numbers_of_a_unified_diff_are_ignored(self) -> None:
        assert patched(b"a\nb\n", "@@ -1,2 +1,2 @@", " a", "-b", "+c") == b"a\nc\n"

    def test_white_space_at_line_ends_may_differ_and_stays_in_the_file(self) -> None:
        assert patched(b"a  \nb\t\nc\n", " a", "-b", "+B", " c") == b"a  \nB\nc\n"

    def test_indentation_may_not_differ(self) -> None:
        with pytest.raises(PatchError, match="not in the file"):
            patched(b"    a\n", "-a", "+b")

    def test_the_end_of_the_file_is_a_place(self) -> None:
        assert patched(b"x\ny\nx\n", "-x", "+z", "*** End of File") == b"x\ny\nz\n"
        with pytest.raises(PatchError, match="at the end"):
            patched(b"x\ny\n", "-x", "+z", "*** End of File")

    def test_lines_alone_are_added_behind_the_header_or_at_the_end(self) -> None:
        assert patched(b"a\nb\n", "@@ a", "+x") == b"a\nx\nb\n"
        assert patched(b"a\nb\n", "@@", "+x") == b"a\nb\nx\n"
        assert patched(b"", "+x") == b"x\n"

    def test_added_lines_end_as_most_of_the_file_does(self) -> None:
        assert patched(b"a\r\nb\r\nc\r\n", " a", "+x", " b") == b"a\r\nx\r\nb\r\nc\r\n"

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["-b", "+B"], b"a\nB"),
            ([" b", "+c"], b"a\nb\nc"),
            (["-a", "+A"], b"A\nb"),
            (["-b"], b"a\n"),
            (["@@", "+x"], b"a\nb\nx"),
            (["-b", "+B", "@@", "+x"], b"a\nB\nx"),
            ([" a", "+x", " b"], b"a\nx\nb"),
        ],
    )
    def test_a_missing_last_newline_stays_missing(self, lines: list[str], expected: bytes) -> None:
        assert patched(b"a\nb", *lines) == expected

    def test_bytes_that_are_no_text_stay_what_they_are(self) -> None:
        assert patched(b"\xff\xfe\nb\n", "-b", "+c") == b"\xff\xfe\nc\n"

    def test_a_patch_made_to_be_slow_is_not(self) -> None:
        content = b"a\n" * 200_000
        with pytest.raises(PatchError, match="not in the file"):
            patched(content, *[" a"] * 20_000, "-b")

    @given(
        before=st.lists(st.sampled_from(["a", "b", "", "  c"]), max_size=12),
        changes=st.lists(st.sampled_from("kdi"), min_size=1, max_size=14),
        ends=st.booleans(),
    )
    @settings(max_examples=600, deadline=None)
    def test_a_patch_of_the_whole_file_does_exactly_what_it_says(
        self, before: list[str], changes: list[str], ends: bool
    ) -> None:
        if before and not before[-1]:
            ends = True  # an empty last line without an ending is no line
        content = "\n".join(before).encode() + (b"\n" if ends and before else b"")
        lines, after, at = [], [], 0
        for change in changes:
            if change == "i":
                lines.append("+new")
                after.append("new")
            elif at < len(before):
                lines.append((" " if change == "k" else "-") + before[at])
                if change == "k":
                    after.append(before[at])
                at += 1
        lines += [" " + line for line in before[at:]]
        after += before[at:]
        if not any(line[0] in "+-" for line in lines):
            return
        expected = "".join(line + "\n" for line in after).encode()
        result = patched(content, *lines)
        assert result in (expected, expected.removesuffix(b"\n"))
        if content.endswith(b"\n") or not content:
            assert result == expected
