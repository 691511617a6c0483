"""URLs that a tool which reaches the web must not reach, for each of those tools: attacks P19 to P21."""

from __future__ import annotations

REDIRECTS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "//127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "data:text/plain,x",
    "http://user@127.0.0.1:{port}/",
    "http://example.org:22/",
    "http://exa\tmple.org/",
]
"""Targets of redirects that are not followed; `{port}` is one where a server listens that must not be asked."""

NOT_PUBLIC = (
    *("http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://localhost./", "http://x.localhost/"),
    *("http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "https://example.org:22/"),
    *("http://example.org:8080/", "http://0.0.0.0/", "http://[::]/", "http://192.168.0.1/", "http://100.100.100.200/"),
    "http://[64:ff9b::7f00:1]/",
)
"""Places that are refused before anything is looked up."""

MISLEADING = (
    *("http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "https://good.com@127.0.0.1/"),
    *(
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "data:text/plain,x",
        "http://１２７.0.0.1/",
        "http://good.com\\@evil.com/",
    ),
)
"""Spellings that readers take for different places."""
