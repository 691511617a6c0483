from __future__ import annotations

import ipaddress
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host_bridge.errors import InvalidCallError
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import is_local_name, is_public, join_url, parse_url, url_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://docs.python.org", UrlResource("https", "docs.python.org", 443, "/")),
        ("HTTPS://DOCS.Python.ORG.:443/3/", UrlResource("https", "docs.python.org", 443, "/3/")),
        ("http://example.org:8080/a?b=c#d", UrlResource("http", "example.org", 8080, "/a?b=c")),
        ("http://example.org:/", UrlResource("http", "example.org", 80, "/")),
        ("http://example.org?q=1", UrlResource("http", "example.org", 80, "/?q=1")),
        ("https://bücher.example/ä?ö", UrlResource("https", "xn--bcher-kva.example", 443, "/%C3%A4?%C3%B6")),
        ("https://BÜCHER.example/", UrlResource("https", "xn--bcher-kva.example", 443, "/")),
        ("https://93.184.216.34/", UrlResource("https", "93.184.216.34", 443, "/")),
        ("https://[2606:2800:0220:0001:0000::0001]/", UrlResource("https", "2606:2800:220:1::1", 443, "/")),
        ("https://[::FFFF:127.0.0.1]/", UrlResource("https", "::ffff:7f00:1", 443, "/")),
        ("https://a.example/a/./b/../c", UrlResource("https", "a.example", 443, "/a/c")),
        ("https://a.example/a/%2e%2E/%2e/b/..", UrlResource("https", "a.example", 443, "/")),
        ("https://a.example/../../../etc", UrlResource("https", "a.example", 443, "/etc")),
        ("https://a.example/%7Euser/%c3%a4%41", UrlResource("https", "a.example", 443, "/~user/%C3%A4A")),
        ("https://a.example/100%/{x}|[y]", UrlResource("https", "a.example", 443, "/100%25/%7Bx%7D%7C%5By%5D")),
        ("https://a.example//b//?u=http://c/../d", UrlResource("https", "a.example", 443, "//b//?u=http://c/../d")),
        ("https://my_host.example/", UrlResource("https", "my_host.example", 443, "/")),
    ],
)
def test_a_url_has_one_spelling(text: str, expected: UrlResource) -> None:
    assert parse_url(text) == expected
    assert parse_url(url_text(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        # numbers and other forms of addresses
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1.1/",
        "http://127.0.0.01/",
        "http://127.0.0.256/",
        "http://1.2.3.0x4/",
        "http://example.0x/",
        "http://127.0.0.1../",
        # who stands before the host
        "https://good.com@127.0.0.1/",
        "https://good.com\\@evil.com/",
        "https://good.com\\.evil.com/",
        "https://user:pass@good.com/",
        "https://good.com%40evil.com/",
        "https:\\\\good.com/",
        # look-alikes and what nobody sees
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://①②⑦.0.0.1/",
        "http://exa\u200bmple.org/",
        "http://exa\u00admple.org/",
        "http://exam\u212aple.org/",
        "http://example.org\u2044path/",
        "http://\u202eexample.org/",
        "http://example.org/a\r\nHost: evil",
        "http://example.org/\x00",
        "http://example.org/\t",
        " http://example.org/",
        "http://example.org/a b",
        "http://exa mple.org/",
        "http://\ud800.org/",
        # addresses with something else
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[::1/",
        "http://::1/",
        "http://[127.0.0.1]/",
        "http://[::1]x/",
        "http://[::1]:80:80/",
        # ports
        "http://example.org:0/",
        "http://example.org:65536/",
        "http://example.org:080808/",
        "http://example.org:-1/",
        "http://example.org:８０/",
        "http://example.org:80:80/",
        # other schemes, and none
        "file:///etc/passwd",
        "gopher://example.org/",
        "data:text/html,x",
        "javascript:alert(1)",
        "ftp://example.org/",
        "https:example.org",
        "https:/example.org",
        "//example.org/",
        "example.org",
        "",
        "https://",
        "https:///path",
        "https://:80/",
        # names
        "https://a..b/",
        "https://.a/",
        "https://-a.b/",
        "https://a-.b/",
        f"https://{'a' * 64}.b/",
        f"https://{'a.' * 127}b/",
        "https://a*b/",
        # paths
        "https://a.example/public/..%2f..%2fprivate",
        "https://a.example/public/%2e%2e%5cprivate",
        "https://a.example/" + "a" * 9000,
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(text: str) -> None:
    with pytest.raises(InvalidCallError) as caught:
        parse_url(text)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 1000


SOMEBODYS = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.8 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1
2001:0:7f00:1:: 2001:2::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1
fe80::1%eth0 2606:2800:220:1::1%eth0 fec0::1 feff::1 ff02::1 ff0e::1 4000::1
"""
EVERYBODYS = """
1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.0.1.1 198.17.0.1 198.20.0.1 223.1.1.1
2606:2800:220:1::1 2a00:1450:4001:80b::200e 2001:4860:4860::8888 2400:cb00::1 2003::1 2620:fe::fe
"""


@pytest.mark.parametrize("address", SOMEBODYS.split())
def test_addresses_that_are_somebodys_own(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", EVERYBODYS.split())
def test_addresses_that_are_everybodys(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "2130706433", "1.2.3.4.5", "x", "[::1]", "1.1.1.1 "])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_local(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    local = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    assert not (is_public(str(address)) and (local or address.is_reserved or address.is_unspecified))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("169.254.169.254", True),
        ("::1", True),
        ("fd00:ec2::254", True),
        ("1.1.1.1", False),
        ("2606:2800:220:1::1", False),
        ("example.org", False),
        ("notlocalhost", False),
    ],
)
def test_local_names_need_no_lookup(host: str, expected: bool) -> None:
    assert is_local_name(host) is expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/x", "https://a.example/x"),
        ("x y", "https://a.example/dir/x%20y"),
        ("../x", "https://a.example/x"),
        ("?q", "https://a.example/dir/page?q"),
        ("//b.example/x", "https://b.example/x"),
        ("http://127.0.0.1/", "http://127.0.0.1/"),
        ("  https://b.example ", "https://b.example/"),
        ("https://b.example:444/x#y", "https://b.example:444/x"),
    ],
)
def test_a_redirect_is_read_from_where_it_was_found(reference: str, expected: str) -> None:
    assert url_text(join_url(parse_url("https://a.example/dir/page"), reference)) == expected


@pytest.mark.parametrize(
    "reference",
    [
        "file:///etc/passwd",
        "ht\ntp://b",
        "\\\\evil.com\\x",
        "//user@evil.com/",
        "http://[",
        "gopher://b",
        "http://0x7f.1/",
    ],
)
def test_a_redirect_to_what_is_no_url_is_refused(reference: str) -> None:
    with pytest.raises(InvalidCallError):
        join_url(parse_url("https://a.example/"), reference)


@given(st.text(alphabet="ab.:/@?#[]\\%2eE0x17%-_ ü１{}|", max_size=40))
def test_reading_twice_changes_nothing_and_pythons_reader_agrees(rest: str) -> None:
    try:
        url = parse_url(f"https://{rest}")
    except InvalidCallError:
        return
    text = url_text(url)
    assert text.isascii()
    assert parse_url(text) == url
    split = urllib.parse.urlsplit(text)
    assert split.hostname == url.host
    assert (split.port or 443) == url.port
    assert split.username is None
    assert (f"{split.path}?{split.query}" if "?" in url.path else split.path).rstrip("?") == url.path.rstrip("?")
