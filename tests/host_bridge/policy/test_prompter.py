from __future__ import annotations

import io
import os
import pty
import threading
import time

import pytest

from host_bridge.control import Answer, Asked, Pattern, Sibling
from host_bridge.policy.choices import choices
from host_bridge.policy.display import collapsed, escaped, one_line
from host_bridge.policy.prompter import terminal_prompter
from host_bridge.policy.question_text import describe


def asked(shown=None, **fields) -> Asked:
    return Asked(
        **{
            "question_id": "q",
            "tool": "terminal",
            "shown": shown if shown is not None else {"command": "git push origin main", "timeout": 180},
            "rule_id": "user:rules.ask[0]",
            "reason": "the command `git push origin main` needs a person's yes",
            "principal": "nightly",
            "cell_index": 3,
            "timeout_seconds": 5.0,
            **fields,
        }
    )


def said(given: str | Answer) -> str:
    """Give the word of an answer, which says that it was given at a terminal."""
    assert isinstance(given, Answer)
    assert given.by == "terminal"
    return given.answer


def typed(text: str, question: Asked | None = None) -> tuple[str | Answer, str]:
    """Type at a question; give the answer and what stood on the screen."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    out = io.StringIO()
    with os.fdopen(reading) as stream:
        return terminal_prompter(question or asked(), stream, out), out.getvalue()


def test_a_question_shows_who_asks_for_what_and_why():
    text = describe(asked())
    assert "nightly asks, cell 3: may terminal be called with" in text
    assert "  | git push origin main" in text
    assert "  | 180" in text
    assert "user:rules.ask[0]" in text
    assert "needs a person's yes" in text


@pytest.mark.parametrize(
    "hidden", ["\x1b[2J", "\x1b]0;x\x07", "\u202e", "\u200b", "\r", "\x00", "\x85", "\u2028", "\x9b2J", "\ud800"]
)
def test_nothing_invisible_reaches_the_screen(hidden):
    sibling = Sibling(digest="d", shown={f"a{hidden}b": hidden}, targets=(hidden,))
    texts = ("tool", "reason", "principal", "rule_id", "notebook", "untrusted", "source_line", "problem", "suggested")
    question = asked(
        {f"a{hidden}b": f"x{hidden}y", "list": [hidden]},
        targets=(f"read {hidden}",),
        siblings=(sibling,),
        **dict.fromkeys(texts, f"t{hidden}"),
    )
    text = describe(question) + "\n" + choices(question)
    assert hidden not in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert f"\\u{{{ord(hidden[0]):x}}}" in text


def test_blanks_and_repetition_do_not_push_a_payload_out_of_sight():
    for filler in (" " * 10_000, "\n" * 10_000, " \n" * 5000, "\t" * 10_000, "a" * 10_000):
        text = describe(asked({"command": f"echo{filler}rm -rf important"}))
        assert "rm -rf important" in text
        assert len(text) < 1000
        assert len(text.splitlines()) < 20
        assert "0000" in text  # how much was left out


def test_every_argument_is_shown_in_full():
    script = "\n".join(f"line {n} of a script" for n in range(500))
    text = describe(asked({"content": script}))
    assert all(f"  | line {n} of a script\n" in text + "\n" for n in range(500))


def test_a_value_can_not_pass_for_a_line_of_the_question():
    text = describe(asked({"command": "ls\n  tool: harmless   rule: none\n[y] yes"}))
    assert [line for line in text.splitlines() if line.startswith("  tool:")] == [
        "  tool: terminal   rule: user:rules.ask[0]"
    ]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("y\n", "once"),
        ("YES\n", "once"),
        ("r\n", "run"),
        ("s\n", "stop"),
        ("b\n", "no"),
        ("w\n", "no"),
        ("a\n", "no"),
        ("l 5\ny\n", "no"),
        ("l\n", "no"),
        ("n\n", "no"),
        ("\n", "no"),
        ("", "no"),
        ("yy\n", "no"),
        ("always\n", "no"),
        ("y" * 500 + "\n", "no"),
        ("y", "no"),
    ],
)
def test_only_a_clear_yes_is_one(text, answer):
    given, screen = typed(text)
    assert said(given) == answer
    assert "git push origin main" in screen


LOOP = "terminal(git push *)"
SIBLING = Sibling(digest="d2", shown={"command": "git push origin other", "timeout": 180}, targets=(), waiting=2)


@pytest.mark.parametrize(
    ("text", "fields", "answer"),
    [
        ("b\n", {"notebook_digest": "n"}, "notebook"),
        ("w\n", {"remedy": "allow = []"}, "always"),
        ("a\n", {"siblings": (SIBLING,)}, "once"),
        ("y\n", {"siblings": (SIBLING,)}, "once"),
    ],
)
def test_a_wider_yes_is_offered_only_where_there_is_one(text, fields, answer):
    given, screen = typed(text, asked(**fields))
    assert said(given) == answer
    assert f"[{text[0]}]" in screen
    assert given.covers == (("d2",) if text == "a\n" else ())
    assert f"[{text[0]}]" not in typed(text)[1] or text == "y\n"


def test_a_loop_is_allowed_after_its_pattern_was_shown_and_said_yes_to():
    given, screen = typed("l 20\ny\n", asked(suggested=LOOP))
    assert isinstance(given, Answer)
    assert given.pattern == Pattern(rule=LOOP, calls=20, seconds=600)
    assert "up to 20 calls, this one included, for 600 s" in screen
    assert f"  | {LOOP}" in screen
    for text in ("l 20\n", "l 20\nn\n", "l 20\n\n", "l 0\ny\n", "l 99999\ny\n", "l x\ny\n", "l 20\nl 20\n"):
        given, _ = typed(text, asked(suggested=LOOP))
        assert said(given) == "no", text
        assert given.pattern is None


def test_a_person_may_type_a_pattern_of_their_own():
    given, screen = typed("l 3 terminal(git push origin *)\ny\n")
    assert isinstance(given, Answer)
    assert given.pattern is not None
    assert given.pattern.rule == "terminal(git push origin *)"
    assert "  | terminal(git push origin *)" in screen


def test_a_question_shows_targets_line_notebook_siblings_and_what_was_read():
    text = describe(
        asked(
            targets=("run in /home/me/work: git push origin main",),
            notebook="/home/me/work/report.ipynb",
            line=4,
            source_line="hermes.terminal(f'git push origin {branch}')",
            untrusted="web_extract https://example.org",
            siblings=(SIBLING,),
            waiting=3,
            problem="the pattern does not match",
        )
    )
    for line in (
        "  | run in /home/me/work: git push origin main",
        "  notebook: /home/me/work/report.ipynb",
        "  line 4 of the cell:",
        "  | hermes.terminal(f'git push origin {branch}')",
        "  this session has read untrusted content: web_extract https://example.org",
        "  2 more calls wait from the same place, with",
        "  | git push origin other",
        "  3 calls exactly like this wait; a yes is for all of them",
        "  the answer before could not be used: the pattern does not match",
    ):
        assert line in text.splitlines()
    assert text.count("  | 180") == 1, "what is the same for a sibling is shown once"
    assert text.splitlines()[-1].startswith("  tool: terminal")


def test_silence_is_no_answer_in_time():
    reading, writing = os.pipe()
    started = time.monotonic()
    with os.fdopen(reading) as stream:
        out = io.StringIO()
        assert terminal_prompter(asked(timeout_seconds=0.2), stream, out) == ""
    os.close(writing)
    assert time.monotonic() - started < 3
    assert "no answer in time" in out.getvalue()


def test_half_a_line_does_not_outwait_the_deadline():
    reading, writing = os.pipe()
    os.write(writing, b"ye")
    with os.fdopen(reading) as stream:
        assert terminal_prompter(asked(timeout_seconds=0.2), stream, io.StringIO()) == ""
    os.close(writing)


def test_what_follows_the_answer_is_left_for_others():
    reading, writing = os.pipe()
    os.write(writing, b"y\nnext line\n")
    with os.fdopen(reading) as stream:
        assert said(terminal_prompter(asked(), stream, io.StringIO())) == "once"
        assert os.read(reading, 100) == b"next line\n"
    os.close(writing)


def test_ctrl_c_and_a_broken_terminal_are_a_no():
    class Interrupted(io.StringIO):
        def readline(self, *_):
            raise KeyboardInterrupt

    class Gone(io.StringIO):
        def write(self, _):
            raise OSError(5, "gone")

    assert said(terminal_prompter(asked(), Interrupted(), io.StringIO())) == "no"
    assert said(terminal_prompter(asked(), io.StringIO("y\n"), Gone())) == "no"
    closed = io.StringIO("y\n")
    closed.close()
    assert said(terminal_prompter(asked(), closed, io.StringIO())) == "no"


def test_on_a_terminal_what_was_typed_before_the_question_does_not_count():
    master, slave = pty.openpty()
    os.write(master, b"y\n")
    shown = threading.Event()

    class Out(io.StringIO):
        def flush(self):
            shown.set()

    def answer():
        assert shown.wait(10)
        os.write(master, b"n\n")

    person = threading.Thread(target=answer)
    person.start()
    with os.fdopen(slave) as stream:
        assert said(terminal_prompter(asked(), stream, Out())) == "no"
    person.join()
    os.close(master)


def test_escapes_are_unambiguous():
    assert escaped("a\u202eb") == "a\\u{202e}b"
    assert escaped("a\\u{202e}b") == "a\\\\u{202e}b"
    assert escaped("plain ünï") == "plain ünï"


def test_short_runs_stay_as_they_are():
    text = "    indented  " + "-" * 70
    assert collapsed(text) == text


def test_a_line_is_bounded_and_counts_what_it_leaves_out():
    text = one_line("".join(chr(97 + n % 26) for n in range(100_000)), 100)
    assert len(text) < 200
    assert "99900 more characters" in text


def test_a_question_that_is_answered_elsewhere_is_taken_off_the_terminal():
    ours, theirs = pty.openpty()
    over, end = os.pipe()
    out = io.StringIO()
    with open(theirs, "rb", buffering=0) as stream:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(terminal_prompter(asked(), stream, out, over=over)))
        asking.start()
        os.write(end, b"x")
        asking.join(4)
    for descriptor in (ours, over, end):
        os.close(descriptor)

    assert answers == [""]
    assert out.getvalue().endswith("no answer is needed any more\n")
