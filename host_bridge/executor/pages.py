"""Self-contained HTML pages: one file, no script, nothing fetched, and a policy in the page that holds a browser to it."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence

from host_bridge.executor.sanitising import safe_text

_STYLE = """\
:root { color-scheme: light dark; --line: #8884; --add: #2da44e26; --del: #cf222e22; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.5rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; font-weight: 600; }
pre, code, .code { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre { margin: 0; }
table { border-collapse: collapse; } td, th { padding: .15rem .6rem; text-align: left; vertical-align: top; }
.plain td, .plain th, .outputs td, .outputs th { border: 1px solid var(--line); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .8rem; }
.pair > div { min-width: 0; overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; padding: .4rem; }
.code div { min-height: 1.45em; padding: 0 .3rem; }
.code .add { background: var(--add); } .code .del { background: var(--del); }
.code .gap { background: var(--soft); }
.tag { font-size: .8rem; border: 1px solid var(--line); border-radius: 1em; padding: 0 .6em; margin-left: .5em; }
.gained { background: var(--del); font-weight: 600; } .lost { background: var(--add); }
.note { opacity: .75; } img { max-width: 100%; background: #fff; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """Make a page.

    Args:
        title: Text.
        body: HTML that is safe already.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    heading = safe_text(title)
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="referrer" content="no-referrer">\n<meta name="viewport" content="width=device-width">',
            f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{heading}</h1>",
            *body,
            "</body>\n</html>\n",
        )
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """Make a table of texts; a row's class, where there is one, is the text of its first cell."""
    head = "".join(f"<th>{safe_text(heading)}</th>" for heading in headings)
    lines = []
    for row in rows:
        mark = f' class="{row[0]}"' if row[0] in classes else ""
        cells = "".join(f"<td><code>{safe_text(cell)}</code></td>" for cell in row)
        lines.append(f"<tr{mark}>{cells}</tr>")
    return f'<table class="plain"><tr>{head}</tr>{"".join(lines)}</table>'
