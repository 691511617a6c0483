from __future__ import annotations

import pytest

from host_bridge.policy.model import UrlResource
from host_bridge.policy.urls import parse_url_pattern


def url(text: str) -> UrlResource:
    scheme, _, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    host, _, port = authority.partition(":")
    return UrlResource(scheme, host, int(port or {"http": 80, "https": 443}.get(scheme, 0)), slash + path or "/")


@pytest.mark.parametrize(
    ("pattern", "target"),
    [
        ("domain:python.org", "https://python.org/x"),
        ("domain:python.org", "http://python.org/"),
        ("domain:Python.ORG.", "https://python.org/"),
        ("domain:*.python.org", "https://docs.python.org/3/"),
        ("domain:*.python.org", "https://a.b.python.org/"),
        ("domain:*", "https://anything.example/"),
        ("url:https://api.example.org/v1/**", "https://api.example.org/v1/a/b?c=d"),
        ("url:https://api.example.org/v1/*", "https://api.example.org/v1/a"),
        ("url:https://example.org", "https://example.org/"),
        ("url:https://example.org:8443/**", "https://example.org:8443/x"),
        ("url:https://*.example.org/**", "https://a.example.org/x"),
        ("url:https://example.org/**", "https://example.org/a.b/c..d/%20x?q=../.."),
    ],
)
def test_a_url_pattern_allows(pattern, target):
    assert parse_url_pattern(pattern).allows(url(target))


@pytest.mark.parametrize(
    ("pattern", "target"),
    [
        ("domain:*.python.org", "https://python.org/"),
        ("domain:*.python.org", "https://docs.python.org.evil.com/"),
        ("domain:*.python.org", "https://evilpython.org/"),
        ("domain:python.org", "https://docs.python.org/"),
        ("domain:python.org", "https://python.org:22/"),
        ("domain:python.org", "http://python.org:443/"),
        ("domain:python.org", "ftp://python.org/"),
        ("domain:*", "file:///etc/passwd"),
        ("url:https://example.org/**", "http://example.org/x"),
        ("url:https://example.org/**", "https://example.org:8443/x"),
        ("url:https://example.org", "https://example.org/x"),
        ("url:https://example.org/v1/*", "https://example.org/v1/a/b"),
        ("url:https://example.org/v1/*", "https://example.org/v1/a?b"),
        ("url:https://example.org/v1/**", "https://example.org/v1/../v2"),
        ("url:https://example.org/v1/**", "https://example.org/v1/%2e%2e/v2"),
        ("url:https://example.org/v1/**", "https://example.org/v1/..%2fv2"),
        ("url:https://example.org/v1/**", "https://example.org/v1/..\\v2"),
        ("url:https://example.org/v1/**", "https://example.org/v1/..;x/v2"),
        ("url:https://example.org/v1/**", "https://example.org/V1/x"),
    ],
)
def test_a_url_pattern_does_not_allow(pattern, target):
    assert not parse_url_pattern(pattern).allows(url(target))


@pytest.mark.parametrize(
    ("pattern", "target"),
    [
        ("domain:*.evil.org", "https://evil.org/"),
        ("domain:evil.org", "https://evil.org:8443/"),
        ("domain:evil.org", "ftp://evil.org/"),
        ("url:https://example.org/private/**", "https://example.org/private/x"),
        ("url:https://example.org/private/**", "http://example.org/private/x"),
        ("url:https://example.org/private/**", "https://example.org/p%72ivate/x"),
        ("url:https://example.org/private/**", "https://example.org/a/../private/x"),
        ("url:https://example.org/private", "https://example.org/private/x"),
    ],
)
def test_a_deny_rule_for_a_url_applies_to(pattern, target):
    assert parse_url_pattern(pattern).may_mean(url(target))


def test_a_deny_rule_for_a_url_leaves_others_alone():
    assert not parse_url_pattern("domain:evil.org").may_mean(url("https://notevil.org/"))
    assert not parse_url_pattern("url:https://example.org/private/**").may_mean(url("https://example.org/public"))
