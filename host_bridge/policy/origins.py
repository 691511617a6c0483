"""URLs and addresses: one spelling for each place on the network, and which addresses belong to everybody.

A URL is read here once, strictly; what comes out is what rules see and what is fetched. Spellings that different readers take
for different places (backslashes, credentials, numbers as addresses, look-alike digits) are refused rather than repaired.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

from host_bridge.errors import InvalidCallError
from host_bridge.policy.model import UrlResource

MAX_URL_CHARACTERS = 8192  # what most servers accept as a request line
DEFAULT_PORTS = {"http": 80, "https": 443}

_SHAPE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # how the URL standard tells an address from a name: by the last label
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@/-]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")

# Everything that is not a host of the public internet. Python's `is_global` lets through NAT64, 6to4, IPv4-compatible
# addresses, fec0::/10, multicast and 192.0.0.8, each of which can end at a machine nearby.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's own service, in public space
        "169.254.0.0/16",  # link-local; clouds' metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")  # all that was ever given out; the rest embeds IPv4, is local or reserved
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, overlays
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
]


def parse_url(text: str) -> UrlResource:
    """Read a URL into its one spelling.

    Returns:
        The place: host lower case, IDNA-encoded, without a trailing dot, an IPv6 address compressed and without brackets;
        path and query percent-encoded, without dot segments. A fragment is dropped.

    Raises:
        InvalidCallError: Not an http or https URL, or one that could be read in two ways; says what is wrong with it.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise InvalidCallError(f"a URL is longer than {MAX_URL_CHARACTERS} characters")
    if not text.isprintable() or " " in text or "\\" in text:
        raise _refusal(text, "has a space, a backslash or an invisible character; percent-encode what belongs into it")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise _refusal(text, "is not complete; it begins with https:// and a host")
    scheme = shape[1].lower()
    if scheme not in DEFAULT_PORTS:
        raise _refusal(text, "is neither http nor https")
    if "@" in shape[2]:
        raise _refusal(text, "has credentials or an @ before its host; leave them out")
    authority = _AUTHORITY.fullmatch(shape[2])
    if authority is None:
        raise _refusal(text, "has no valid host and port")
    host = _canonical_host(text, authority[1])
    port = int(authority[2]) if authority[2] else DEFAULT_PORTS[scheme]
    if not 0 < port < 65_536:
        raise _refusal(text, "has no valid port")
    return UrlResource(scheme, host, port, _canonical_path(text, shape[3]) + _encode(shape[4] or "", "?"))


def join_url(base: UrlResource, reference: str) -> UrlResource:
    """Read a reference (a redirect's target) found at `base`.

    Raises:
        InvalidCallError: As `parse_url`.
    """
    reference = reference.strip(" ").replace(" ", "%20")  # servers send it, and it means one thing only
    if len(reference) > MAX_URL_CHARACTERS or not reference.isprintable() or "\\" in reference:
        raise _refusal(reference, "is too long, or has a backslash or an invisible character")
    try:
        return parse_url(urllib.parse.urljoin(url_text(base), reference))
    except ValueError:
        raise _refusal(reference, "is not a URL") from None


def url_text(url: UrlResource) -> str:
    """Spell a URL. `parse_url` of it gives the same again."""
    port = "" if url.port == DEFAULT_PORTS[url.scheme] else f":{url.port}"
    return f"{url.scheme}://{bracketed(url.host)}{port}{url.path}"


def bracketed(host: str) -> str:
    """Spell a host as URLs and `host:port` do."""
    return f"[{host}]" if ":" in host else host


def is_public(address: str) -> bool:
    """Whether an IP address belongs to a host of the public internet; false for whatever is not an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    if parsed.scope_id is not None or parsed not in _PUBLIC_6:
        return False
    return not any(parsed in network for network in _NOT_PUBLIC_6)


def is_local_name(host: str) -> bool:
    """Whether a host is this machine by name or is an address that is not public: nothing needs to be looked up for that."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return (":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]) is not None) and not is_public(host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _canonical_host(url: str, text: str) -> str:
    if text.startswith("["):
        return _canonical_ipv6(url, text[1:-1])
    host = "".join(map(_lower, text)).removesuffix(".")
    labels = [label if label.isascii() else _to_ascii(url, label) for label in host.split(".")]
    host = ".".join(labels)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _refusal(url, "has no valid host name")
    if _NUMBER.fullmatch(labels[-1]) and not _is_plain_ipv4(host):
        raise _refusal(url, "has a number for a host; write an address as four decimal numbers")
    return host


def _lower(character: str) -> str:
    lowered = character.lower()
    # The Kelvin sign would become a plain k: such characters stay, to be refused.
    return character if not character.isascii() and any(map(str.isascii, lowered)) else lowered


def _canonical_ipv6(url: str, text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise _refusal(url, "has no valid IPv6 address") from None
    if address.scope_id is not None:
        raise _refusal(url, "has an address with a zone, which means something on one machine only")
    return address.compressed


def _to_ascii(url: str, label: str) -> str:
    # Only names with other letters need it. Strict, without the mapping that turns full-width digits into digits.
    import idna

    try:
        return idna.alabel(label).decode()
    except (idna.IDNAError, UnicodeError):
        raise _refusal(url, "has a host name with characters that names can't have") from None


def _is_plain_ipv4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def _canonical_path(url: str, text: str) -> str:
    path = _encode(text, "")
    segments: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == "..":
            del segments[-1:]
        elif part != ".":
            segments.append(part)
    if parts and parts[-1] in (".", ".."):
        segments.append("")
    for segment in segments:
        # A server that decodes these before it looks for "..", as many do, would go where no rule looked.
        if ".." in re.split(r"%2F|%5C", segment):
            raise _refusal(url, "hides '..' behind an encoded slash")
    return "/" + "/".join(segments)


def _encode(text: str, more: str) -> str:
    """Percent-encode what must be, and undo it for what needn't be."""

    def replace(match: re.Match[str]) -> str:
        found = match[0]
        if len(found) == 1:
            return found if found in more else "".join(f"%{byte:02X}" for byte in found.encode())
        meant = chr(int(found[1:], 16))
        return meant if _UNRESERVED.fullmatch(meant) else found.upper()

    return _ESCAPE.sub(replace, text)


def _refusal(url: str, problem: str) -> InvalidCallError:
    shown = url if len(url) <= 200 else url[:197] + "..."
    return InvalidCallError(f"the URL {shown!a} {problem}")
