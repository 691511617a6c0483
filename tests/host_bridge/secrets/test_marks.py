"""What a kernel says about where its secrets stand is checked, and means one thing only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_protocol.messages import SecretMark
from host_bridge.errors import InvalidCallError
from host_bridge.secrets.marks import marked_names, put_in

VALUES = {"A": "value of A", "B": "[secret A]"}
ARGUMENTS = {"headers": {"Authorization": "token [secret A]"}, "list": ["x", "[secret B]"], "n": 3}
MARKS = (
    SecretMark(name="A", argument=("headers", "Authorization"), offset=6),
    SecretMark(name="B", argument=("list", 1)),
)


def test_values_are_put_in_where_the_marks_are_and_only_once():
    names = marked_names(MARKS, ARGUMENTS)
    assert names == ("A", "B")
    assert put_in(ARGUMENTS, names, VALUES.__getitem__) == {
        "headers": {"Authorization": "token value of A"},
        "list": ["x", "[secret A]"],
        "n": 3,
    }


def test_a_part_of_the_arguments_asks_for_its_own_secrets_only():
    asked: list[str] = []
    put_in(ARGUMENTS["headers"], ("A", "B"), lambda name: asked.append(name) or "x")
    assert asked == ["A"]


@pytest.mark.parametrize(
    ("argument", "offset"),
    [
        (("headers", "Authorization"), 0),
        (("headers",), 0),
        (("headers", "authorization"), 6),
        (("headers", 0), 6),
        (("list", -1), 0),
        (("list", 2), 0),
        (("list", "1"), 0),
        (("n",), 0),
        (("missing",), 0),
        (("headers", "Authorization"), 2**50),
    ],
)
def test_a_mark_that_points_at_something_else_is_refused(argument, offset):
    with pytest.raises(InvalidCallError, match="where it doesn't stand"):
        marked_names((SecretMark(name="A", argument=argument, offset=offset),), ARGUMENTS)


@pytest.mark.parametrize("more", [{"body": "[secret A]"}, {"body": {"[secret A]": 1}}, {"body": [["and [secret A]"]]}])
def test_text_that_looks_like_a_secret_of_the_call_is_refused_rather_than_guessed_about(more):
    with pytest.raises(InvalidCallError, match="nobody could tell"):
        marked_names(MARKS, {**ARGUMENTS, **more})


def test_without_marks_text_is_text():
    assert marked_names((), {"body": "[secret A]"}) == ()
    assert put_in({"body": "[secret A]"}, (), VALUES.__getitem__) == {"body": "[secret A]"}


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("[secret A]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(plain)
def test_whatever_a_kernel_sends_nothing_unmarked_is_ever_replaced(arguments):
    def read(name: str) -> str:
        raise AssertionError("a value was read for a call that names none")

    assert put_in(arguments, marked_names((), arguments), read) == arguments
