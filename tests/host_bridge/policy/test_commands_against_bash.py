"""Whatever is understood must mean to bash exactly what it means here: fuzzed lines are split by a real one and compared."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from host_bridge.policy.commands import parse

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None or shutil.which("printf") is None, reason="needs bash and printf")

# Every simple command ends in the handler, which writes its words to descriptor 9: no builtin is on, PATH leads nowhere.
# `{status}` decides which side of && and || runs.
# FUNCNEST ends a handler that comes to call itself (a program it needs isn't there) before it fills the process table.
SCRIPT = """
FUNCNEST=4
exec 9>>"$OUT"
command_not_found_handle() { /usr/bin/printf '%s\\0' "$@" $'\\001' >&9; {status}; }
enable -n $(compgen -b | /bin/grep -v -x -e enable) 2>/dev/null
enable -n enable
"""

PIECES = [
    *(
        "a",
        "b",
        "ab",
        "c0",
        "-x",
        "--long=1",
        "x.y",
        "1",
        "0",
        "-",
        "=",
        "a=b",
        "HEAD~1",
        "HEAD^",
        "%d",
        "@",
        ",",
        "+",
        ":",
        "a:b",
    ),
    *("./a", "a/b", "/", "..", "//"),
    *(
        "'q'",
        "'q r'",
        '"d"',
        '"d e"',
        "''",
        '""',
        "'\"'",
        '"\'"',
        "'é'",
        '"!"',
        "'*'",
        "'$x'",
        "'\n'",
        '"\n"',
        "'\t'",
        "'\\'",
        "'~'",
    ),
    *(" ", "  ", "\t", " ", " ", "\n", ";", ";", "&&", "||", "|", "&", "\n\n", ";\n"),
    *(
        "$x",
        "${x}",
        "$(a)",
        "`a`",
        "*",
        "?",
        "[a]",
        "{a,b}",
        "{a}",
        "~",
        "~a",
        "=~",
        "\\",
        "\\a",
        "#",
        "!",
        "(",
        ")",
        "<",
        ">",
    ),
    *(
        "<a",
        ">a",
        "2>&1",
        "<<a",
        "\r",
        "\x0b",
        "\x7f",
        "é",
        "\u200b",
        "if",
        "then",
        "fi",
        "time",
        "do",
        "[[",
        "in",
        "function",
        "$'a'",
    ),
]
SAFE_PIECES = PIECES[: PIECES.index("$x")]


def split_by_bash(line: str, folder, status: int) -> list[tuple[str, ...]]:
    """Give the argument vectors that bash would have executed."""
    out = folder / "out"
    out.write_bytes(b"")
    done = subprocess.run(
        [BASH, "--norc", "--noprofile", "-c", SCRIPT.replace("{status}", ("/bin/true", "/bin/false")[status]) + line],
        cwd=folder / "cwd",
        env={
            "PATH": "/nonexistent",
            "HOME": "/home-of-somebody",
            "OUT": str(out),
            "x": "expanded",
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert b"syntax error" not in done.stderr, (line, done.stderr)
    words = out.read_bytes().decode().split("\0")[:-1]
    commands: list[tuple[str, ...]] = []
    current: list[str] = []
    for word in words:
        if word == "\x01":
            commands.append(tuple(current))
            current = []
        else:
            current.append(word)
    return commands


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cwd").mkdir()
    for name in ("a", "b", "ab", "q r"):  # what a glob would find
        (tmp_path / "cwd" / name).write_text("")
    return tmp_path


def generated(seed: int, count: int, pieces: list[str], longest: int) -> list[str]:
    source = random.Random(seed)
    return ["".join(source.choices(pieces, k=source.randint(1, longest))) for _ in range(count)]


def accepted(lines: list[str], at_most: int) -> list[str]:
    """Those that are understood and name no file, which bash would run instead of asking the handler."""
    found = []
    for line in dict.fromkeys(lines):
        understood = parse(line)
        if understood is not None and not any("/" in argv[0] for argv in understood.commands):
            found.append(line)
    return found[:at_most]


def check(line: str, folder) -> None:
    expected = sorted(parse(line).commands)
    if "||" not in line:
        assert sorted(split_by_bash(line, folder, 0)) == expected, line
    elif "&&" not in line:
        assert sorted(split_by_bash(line, folder, 1)) == expected, line
    else:
        for status in (0, 1):
            assert set(split_by_bash(line, folder, status)) <= set(expected), line


@pytest.mark.slow
def test_accepted_lines_split_as_bash_splits_them(folder):
    anything = accepted(generated(1, 30_000, PIECES, 8), 100)
    mostly_plain = accepted(generated(2, 6000, SAFE_PIECES, 14), 200)
    assert len(anything) >= 100
    assert len(mostly_plain) >= 200
    for line in anything + mostly_plain:
        check(line, folder)


def test_a_few_accepted_lines_split_as_bash_splits_them(folder):
    for line in [
        "a 'b c' d\"e f\"g",
        "a b|b c;ab",
        "a '' \"\"",
        "a\nb\n\nc0",
        "a HEAD~1 HEAD^ x=y",
        "a '\n' \"\t\"",
        "a 'é' \"!\"",
    ]:
        assert parse(line) is not None
        check(line, folder)


def test_the_comparison_notices_what_bash_would_expand(folder):
    assert split_by_bash("a $x *", folder, 0) == [("a", "expanded", "a", "ab", "b", "q r")]
    assert split_by_bash("a && b || c0", folder, 1) == [("a",), ("c0",)]
