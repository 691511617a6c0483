"""The V4A format: what is read and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host_bridge.tools.v4a import FilePatch, Hunk, PatchError, parse_patch


class TestParsing:
    def test_all_kinds_of_changes_are_read(self) -> None:
        text = """
*** Begin Patch
*** Update File: src/a.py
*** Move to: src/b.py
@@ class A:
@@     def f(self):
 context
-old
+new

 after blank
*** End of File
*** Add File: new dir/c.txt
+one
+
+three
*** Delete File: d

*** End Patch
"""
        assert parse_patch(text) == [
            FilePatch(
                "update",
                "src/a.py",
                "src/b.py",
                (
                    Hunk(
                        ("class A:", "def f(self):"),
                        ((" ", "context"), ("-", "old"), ("+", "new"), (" ", ""), (" ", "after blank")),
                        at_end=True,
                    ),
                ),
            ),
            FilePatch("add", "new dir/c.txt", content="one\n\nthree\n"),
            FilePatch("delete", "d"),
        ]

    def test_carriage_returns_of_the_patch_itself_mean_nothing(self) -> None:
        text = "*** Begin Patch\r\n*** Add File: f\r\n+x\r\n*** End Patch\r\n"
        assert parse_patch(text) == [FilePatch("add", "f", content="x\n")]

    def test_a_move_needs_no_hunk(self) -> None:
        text = "*** Begin Patch\n*** Update File: a\n*** Move to: b\n*** End Patch"
        assert parse_patch(text) == [FilePatch("update", "a", "b")]

    def test_blank_lines_between_files_belong_to_none(self) -> None:
        text = "*** Begin Patch\n\n*** Update File: a\n@@\n-x\n+y\n\n\n*** Add File: b\n+z\n\n*** End Patch"
        first, second = parse_patch(text)
        assert first.hunks == (Hunk((), (("-", "x"), ("+", "y"))),)
        assert second.content == "z\n"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "begins with"),
            ("*** Begin Patch", "ends with"),
            ("*** Begin Patch\n*** End Patch", "changes no file"),
            ("*** Begin Patch\n*** Update File: a\n*** End Patch", "nothing is changed"),
            ("*** Begin Patch\n*** Update File: \n-x\n*** End Patch", "path is missing"),
            ("*** Begin Patch\nhello\n*** End Patch", "line 2 of the patch"),
            ("*** Begin Patch\n*** Update File: a\n context\n*** End Patch", "changes nothing"),
            ("*** Begin Patch\n*** Update File: a\nxyz\n*** End Patch", "begins with a space"),
            ("*** Begin Patch\n*** Add File: a\nxyz\n*** End Patch", r"begins with '\+'"),
            ("*** Begin Patch\n*** Delete File: a\n+x\n*** End Patch", "expected"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n", "begins with"),
        ],
    )
    def test_what_is_no_patch_says_where(self, text: str, problem: str) -> None:
        with pytest.raises(PatchError, match=problem):
            parse_patch(text)

    @given(
        st.lists(st.sampled_from(["*** Update File: a", "*** End of File", "@@", "@@ x", "-x", "+y", " z", "", "q"]))
    )
    @settings(max_examples=500, deadline=None)
    def test_anything_is_read_or_refused(self, lines: list[str]) -> None:
        text = "\n".join(["*** Begin Patch", *lines, "*** End Patch"])
        try:
            files = parse_patch(text)
        except PatchError:
            return
        assert all(file.hunks for file in files)
