"""Which contents count as untrusted, and what they are said to come from."""

from __future__ import annotations

import pytest

from host_bridge.policy import commands
from host_bridge.policy.model import Access, CommandResource, PathResource, TextResource, UrlResource
from host_bridge.policy.provenance import untrusted_source

WORKSPACE = "/home/amy/project"


def source_of_command(line: str, folder: str = WORKSPACE) -> str:
    return untrusted_source("terminal", commands.resources(line, folder), WORKSPACE)


@pytest.mark.parametrize(
    "line",
    [
        "uname -a",
        "git status",
        "git log --oneline -5",
        "git diff HEAD~1",
        "cat README.md",
        "cat /etc/os-release /proc/meminfo",
        "head -n 5 /usr/share/dict/words",
        "grep -rn needle .",
        f"cat {WORKSPACE}/data/a.csv",
        "python report.py --out=result.csv",
        "make test",
        "pytest -q",
        "df -P -k /home",
        "ls -l /home/other",
        "stat ../elsewhere",
        "ps -A -o pid,user,pcpu,pmem,comm",
        "systemctl list-units --state=failed --plain --no-legend --no-pager",
        "systemctl is-active nginx",
        "pip --version",
        "docker ps",
        "sort data.csv | uniq -c | head -n 3",
        "echo https://example.com/",
    ],
)
def test_the_workspace_and_the_machine_are_trusted(line: str) -> None:
    assert source_of_command(line) == ""


@pytest.mark.parametrize(
    "line",
    [
        "curl https://example.com/",
        "/usr/bin/curl -s https://example.com/",
        "git pull",
        "git -C sub fetch --all",
        "git clone https://example.com/x.git",
        "pip install requests",
        "npm view left-pad",
        "docker logs web",
        "ssh host cat notes",
        "journalctl -p err",
        "dmesg",
        "systemctl status nginx",
        "cat /var/log/syslog",
        "tail -n 20000 /var/log/messages",
        "cat ../other/notes.md",
        "cat data/../../x",
        "cat '~/notes'",
        "diff --from-file=/home/other/a b",
        "cat /proc/1/cmdline",
        "cat /proc/self/environ",
        "cat /etc/../home/other/x",
        "grep x /home/amy/project2/a",
        "sudo journalctl -p err",
        "timeout 5 curl example.com",
        "xargs -n1 wget",
        "bash -c 'curl example.com'",
        "true && curl example.com | sort",
        "cat $HOME/x",
        "cat *.md",
        "echo x > y",
    ],
)
def test_what_a_command_fetches_or_reads_elsewhere_is_not(line: str) -> None:
    assert source_of_command(line).startswith("the command")


def test_a_command_in_another_folder_reads_there() -> None:
    assert source_of_command("cat notes", "/home/other") == "the command `cat notes`"
    assert source_of_command("df", "/home/other") == ""
    assert source_of_command("cat notes", f"{WORKSPACE}/data") == ""


def test_what_is_shown_of_a_command_is_one_line_and_visible() -> None:
    shown = source_of_command("curl 'a\u202eb' " + "x" * 1000)
    assert "\\u{202e}" in shown
    assert shown.isprintable()
    assert len(shown) < 200


@pytest.mark.parametrize(
    ("tool", "path", "access", "is_untrusted"),
    [
        ("read_file", "/home/other/mail", Access.READ, True),
        ("search_files", "/var/log", Access.READ, True),
        ("list_files", "/tmp", Access.READ, True),
        ("read_file", "/proc/loadavg", Access.READ, False),
        ("read_file", "/proc/sys/kernel/hostname", Access.READ, False),
        ("read_file", "/proc/pressure/cpu", Access.READ, False),
        ("read_file", "/proc/17/cmdline", Access.READ, True),
        ("read_file", "/proc/self/comm", Access.READ, True),
        ("read_file", "/proc/net/unix", Access.READ, True),
        ("read_file", "/sys/class/thermal/thermal_zone0/temp", Access.READ, False),
        ("read_file", "/etc/os-release", Access.READ, False),
        ("read_file", "/etcetera", Access.READ, True),
        ("read_file", "/usr/lib/os-release", Access.READ, False),
        ("write_file", "/home/other/report", Access.WRITE, False),
        ("patch", "/home/other/report", Access.WRITE, True),
    ],
)
def test_files_outside_are_untrusted_unless_they_tell_of_the_machine(
    tool: str, path: str, access: Access, is_untrusted: bool
) -> None:
    found = untrusted_source(tool, (PathResource(path, None, access),), WORKSPACE)
    assert found == (path if is_untrusted else "")


def test_a_page_comes_from_its_host_and_the_first_untrusted_resource_is_named() -> None:
    page = UrlResource("https", "example.com", 443, "/a?b")
    inside = PathResource(f"{WORKSPACE}/a", "a", Access.READ)
    assert untrusted_source("web_extract", (inside, page), WORKSPACE) == "https://example.com"
    assert untrusted_source("process", (TextResource("poll"), inside), WORKSPACE) == ""
    assert untrusted_source("x", (CommandResource(("id",), "id", WORKSPACE),), WORKSPACE) == ""
