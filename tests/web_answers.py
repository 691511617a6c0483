"""What servers of tests answer, as bytes."""

from __future__ import annotations


def answer(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """An answer with a body of known length."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


def redirect(location: str, status: int = 302) -> bytes:
    """An answer that points elsewhere."""
    return answer(b"", f"Location: {location}", status=f"{status} Elsewhere")
