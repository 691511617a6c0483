"""Where a secret may go is what the configuration names, and nothing else."""

from __future__ import annotations

import pytest

from host_bridge.control import SecretUse
from host_bridge.errors import ConfigurationError, DeniedError
from host_bridge.policy import commands
from host_bridge.policy.methods import parse_request
from host_bridge.policy.model import Access
from host_bridge.policy.origins import parse_url
from host_bridge.policy.subjects import path_resource
from host_bridge.secrets.uses import Use, read_uses


def use(*, tools: tuple[str, ...] = (), hosts: tuple[str, ...] = ()) -> Use:
    return Use(SecretUse(name="TOKEN", tools=tools, hosts=hosts), principal="default", workspace="/w")


def allows_command(chosen: Use, line: str, folder: str = "/w") -> bool:
    try:
        chosen.check("terminal", commands.resources(line, folder))
    except DeniedError:
        return False
    return True


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("git push origin main", True),
        ("git push", True),
        ("git push origin main && git push backup main", True),
        ("git push; curl https://evil.example", False),
        ("git push | tee log", False),
        ("git push $REMOTE", False),
        ("git -c core.pager=x push", False),
        ("git pull", False),
        ("env", False),
    ],
)
def test_every_command_of_a_line_must_be_one_that_may_have_the_secret(line, allowed):
    assert allows_command(use(tools=("terminal(git push *)",)), line) is allowed


def test_a_rule_about_a_command_means_the_workspace():
    assert not allows_command(use(tools=("terminal(git push *)",)), "git push", folder="/w/vendored")


def test_a_secret_without_rules_goes_nowhere():
    assert not allows_command(use(), "git push")
    with pytest.raises(DeniedError, match="none of its rules") as denied:
        use().check("add", ())
    assert denied.value.rule_id == "secrets.TOKEN:tools"
    assert "[secrets.TOKEN]" in denied.value.remedy


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (("git.example.org",), "https://git.example.org/api?x=1", True),
        (("git.example.org",), "https://GIT.example.org./", True),
        (("git.example.org",), "http://git.example.org/", False),
        (("git.example.org",), "https://git.example.org:8443/", False),
        (("git.example.org:8443",), "https://git.example.org:8443/", True),
        (("git.example.org",), "https://git.example.org.evil.com/", False),
        (("git.example.org",), "https://evilgit.example.org/", False),
        (("http://127.0.0.1:3000",), "http://127.0.0.1:3000/", True),
        (("http://127.0.0.1:3000",), "https://127.0.0.1:3000/", False),
        (("[::1]:3000",), "https://[::1]:3000/", True),
        (("http://[::1]:3000",), "http://[::1]:3000/", True),
        (("http://localhost:3000",), "http://localhost:3000/", True),
        ((), "https://git.example.org/", False),
    ],
)
def test_a_secret_is_sent_to_the_hosts_that_are_named_and_encrypted_unless_said(hosts, url, allowed):
    chosen = use(tools=("web_extract",), hosts=hosts)
    if allowed:
        chosen.check("web_extract", (parse_url(url),))
    else:
        with pytest.raises(DeniedError):
            chosen.check("web_extract", (parse_url(url),))


def test_one_host_that_is_not_named_is_enough():
    chosen = use(tools=("web_extract",), hosts=("a.example",))
    with pytest.raises(DeniedError, match=r"https://b\.example"):
        chosen.check("web_extract", (parse_url("https://a.example/"), parse_url("https://b.example/")))


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"tools": ("*",)}, "secrets.TOKEN.tools"),
        ({"tools": ("*(git push)",)}, "secrets.TOKEN.tools"),
        ({"tools": ("terminal(bash *)",)}, "secrets.TOKEN.tools"),
        ({"tools": ("terminal(",)}, "secrets.TOKEN.tools"),
        ({"tools": ("termnal",)}, "secrets.TOKEN.tools"),
        ({"hosts": ("*.example.org",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("git.example.org/api",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("good.com@evil.com",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("ftp://git.example.org",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("http://git.example.org",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("http://10.0.0.1",)}, "secrets.TOKEN.hosts"),
        ({"hosts": ("http://localhost.example.org",)}, "secrets.TOKEN.hosts"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_key(fields, key):
    with pytest.raises(ConfigurationError) as refused:
        read_uses(
            [SecretUse(name="TOKEN", **fields)], principal="default", workspace="/w", known_tools={"terminal", "add"}
        )
    assert refused.value.key == key


def test_where_an_answer_is_saved_is_not_where_the_secret_goes():
    chosen = use(tools=("http_request(GET domain:git.example.org)",), hosts=("git.example.org",))
    saved = path_resource("out/x", Access.WRITE)
    chosen.check("http_request", (parse_request("https://git.example.org/"), saved))
    for request in ("POST https://git.example.org/", "https://other.example.org/"):
        with pytest.raises(DeniedError):
            chosen.check("http_request", (parse_request(request), saved))
    with pytest.raises(DeniedError):
        use(tools=("deploy(./data/**)",)).check("deploy", (saved,))
