"""Links records: each line carries the hash of the one before it and its own.

    {"seq":4,"time":"2026-11-03T10:15:00.123456Z", …, "previous":"<64 hex>","hash":"<64 hex>"}

The hash is SHA-256 over the line's bytes up to the comma before `"hash"`, so a verifier hashes what is there and re-encodes
nothing. The chain shows every change by somebody who doesn't recompute all that follows; against somebody who does, keep the
last hash elsewhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re

GENESIS = hashlib.sha256(b"hermes-runtime audit log, version 1").hexdigest()
"""What the first record's `previous` says."""

_HASH_LENGTH = 64
_PREFIX = re.compile(rb'\{"seq":(?P<seq>0|[1-9][0-9]{0,17}),"time":"(?P<time>[0-9TZ:.+-]{1,40})",')
_SUFFIX = re.compile(rb',"previous":"(?P<previous>[0-9a-f]{64})","hash":"(?P<hash>[0-9a-f]{64})"\}')
_SUFFIX_LENGTH = len(',"previous":"","hash":""}') + 2 * _HASH_LENGTH


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """What a line says about its place in the chain, and what is true.

    Attributes:
        seq: Its number.
        previous: The hash of the line before, as it says.
        stated_hash: Its own hash, as it says.
        real_hash: Its own hash, computed.
    """

    seq: int
    previous: str
    stated_hash: str
    real_hash: str


def link(seq: int, time: str, body: bytes, previous: str) -> tuple[bytes, str]:
    """Give a record's line, with its line break, and its hash.

    Args:
        seq: Its number.
        time: RFC 3339, UTC.
        body: The record as a JSON object that isn't empty.
        previous: The hash of the line before.
    """
    start = b'{"seq":%d,"time":"%b",%b,"previous":"%b"' % (seq, time.encode(), body[1:-1], previous.encode())
    digest = hashlib.sha256(start).hexdigest()
    return b'%b,"hash":"%b"}\n' % (start, digest.encode()), digest


def read_link(line: bytes) -> Link | None:
    """Take a line (without its line break) apart; None when it isn't one of ours."""
    prefix = _PREFIX.match(line)
    suffix = _SUFFIX.fullmatch(line, max(0, len(line) - _SUFFIX_LENGTH))
    if prefix is None or suffix is None:
        return None
    signed = line[: len(line) - len(',"hash":""}') - _HASH_LENGTH]
    return Link(
        int(prefix["seq"]), suffix["previous"].decode(), suffix["hash"].decode(), hashlib.sha256(signed).hexdigest()
    )
