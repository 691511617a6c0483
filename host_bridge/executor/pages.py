"""Self-contained HTML pages: one file, no script, nothing fetched, and a policy in the page that holds a browser to it."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence

from host_bridge.executor.sanitising import safe_text

COLOURS: Mapping[str, Mapping[str, str]] = {
    "light": {
        "back": "#ffffff",
        "text": "#1b1f24",
        "dim": "#57606a",
        "link": "#0550ae",
        "line": "#c4cad2",
        "soft": "#f2f4f7",
        "add": "#dcf5e3",
        "add-word": "#a3e0b4",
        "del": "#fde6e4",
        "del-word": "#f6bcb6",
        "warn": "#fdeeca",
        "good": "#1a6e34",
        "bad": "#b3201a",
        "wait": "#7a5200",
        "amber": "#b07500",
    },
    "dark": {
        "back": "#15181c",
        "text": "#e4e7eb",
        "dim": "#a0a8b2",
        "link": "#79b8ff",
        "line": "#454c55",
        "soft": "#1f242a",
        "add": "#14331f",
        "add-word": "#1f5c34",
        "del": "#431c1b",
        "del-word": "#7a2c28",
        "warn": "#42330f",
        "good": "#6fd08c",
        "bad": "#ff9389",
        "wait": "#e3b341",
        "amber": "#e3b341",
    },
}
"""What a page is drawn in. Text on each of its grounds has a contrast of 4.5 : 1 or more (WCAG AA), which a test computes."""

_STYLE = """\
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1500px; padding: 1.5rem;
  color: var(--text); background: var(--back); overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
h3, h4 { font-size: 1rem; margin: 1.2rem 0 .4rem; font-weight: 600; }
a { color: var(--link); } :focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
pre, code, .code { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre { margin: 0; } summary { cursor: pointer; color: var(--link); }
table { border-collapse: collapse; } caption { text-align: left; font-weight: 600; padding: .2rem 0; }
td, th { padding: .15rem .6rem; text-align: left; vertical-align: top; }
.plain td, .plain th, .outputs td, .outputs th { border: 1px solid var(--line); }
.plain thead th { background: var(--soft); } .plain th { white-space: nowrap; } .plain tbody th { font-weight: 400; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tag { font-size: .8rem; font-weight: 600; border: 1px solid var(--line); border-radius: 1em; padding: 0 .6em;
  margin-left: .5em; }
.gained { background: var(--warn); } .gained code { font-weight: 600; } .lost { background: var(--soft); }
.note { color: var(--dim); } img { max-width: 100%%; background: #fff; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); } .off { color: var(--dim); }
.wide { overflow-x: auto; }
%(more)s
@media print { body { max-width: none; padding: 0; } h2, h3, h4 { break-after: avoid; } tr, img { break-inside: avoid; }
  .wide { overflow: visible; } details::details-content { content-visibility: visible; height: auto; } }
"""


def page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """Make a page.

    Args:
        title: Text.
        body: HTML that is safe already.
        style: Rules besides those that all pages share.
    """
    grounds = {name: " ".join(f"--{each}: {value};" for each, value in COLOURS[name].items()) for name in COLOURS}
    rules = _STYLE % {**grounds, "more": style}
    digest = base64.b64encode(hashlib.sha256(rules.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    heading = safe_text(title)
    return "\n".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="referrer" content="no-referrer">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{heading}</title>\n<style>{rules}</style>\n</head>\n<body>\n<main>\n<h1>{heading}</h1>",
            *body,
            "</main>\n</body>\n</html>\n",
        )
    )


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], classes: Sequence[str] = (), *, caption: str = ""
) -> str:
    """Make a table of texts, the first of a row being its heading; a row's class, where there is one, is its text."""
    head = "".join(f'<th scope="col">{safe_text(heading)}</th>' for heading in headings)
    lines = []
    for row in rows:
        mark = f' class="{row[0]}"' if row[0] in classes else ""
        first = f'<th scope="row"><code>{safe_text(row[0])}</code></th>'
        rest = "".join(f"<td><code>{safe_text(cell)}</code></td>" for cell in row[1:])
        lines.append(f"<tr{mark}>{first}{rest}</tr>")
    named = f"<caption>{safe_text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table class="plain">{named}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
