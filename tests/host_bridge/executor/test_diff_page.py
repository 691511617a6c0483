"""A page about notebooks shows what they hold, and does nothing that they say."""

from __future__ import annotations

import base64
import copy
import re
from typing import Any

import pytest
from lxml import html
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from host_bridge.executor import NotebookExecutor
from host_bridge.executor.diff_page import diff_page
from host_bridge.executor.sanitising import safe_html

PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n pretend").decode()


def page(before: NotebookNode, after: NotebookNode) -> str:
    difference = NotebookExecutor().diff_notebooks(before, after)
    return diff_page(before, after, difference.changes, title="a <b>", summary=difference.summary)


def notebook(*outputs: NotebookNode, source: str = "x = 1") -> NotebookNode:
    return new_notebook(cells=[new_code_cell(source, id="c", outputs=list(outputs))])


def shown(**data: Any) -> NotebookNode:
    return new_output("display_data", data=data)


def check_harmless(text: str) -> Any:
    """Read a page as a browser does, and find nothing in it that acts or fetches."""
    root = html.document_fromstring(text)
    assert not root.xpath(
        "//script|//iframe|//object|//embed|//link|//base|//form|//svg|//math|//input|//button|//video"
    )
    assert len(root.xpath("//style")) == 1
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue
        for name, value in element.attrib.items():
            assert not name.startswith("on"), name
            assert name not in ("style", "srcset", "background", "action", "formaction", "xlink:href", "ping"), name
            if name == "src":
                assert value.startswith("data:image/"), value
            if name == "href":
                assert re.match("https?://", value), value
    assert "default-src 'none'" in root.xpath("//meta[@http-equiv]")[0].get("content")
    assert all(meta.get("http-equiv") == "Content-Security-Policy" for meta in root.xpath("//meta[@http-equiv]"))
    return root


def test_cells_are_side_by_side_with_outputs_and_pictures() -> None:
    before = notebook(shown(**{"image/png": PIXEL, "text/plain": "<Figure>"}), source="a = 1\nb = 2")
    after = notebook(
        shown(**{"text/html": "<table><tr><th>n</th></tr><tr><td>7</td></tr></table>"}), source="a = 1\nb = 3"
    )
    root = check_harmless(page(before, after))
    rows = [[column.text_content() for column in row.xpath("td")] for row in root.xpath("//table[@class='code']//tr")]
    assert rows == [["1", "a = 1", "1", "a = 1"], ["2", "b = 2", "2", "b = 3"]]
    assert [line.text_content() for line in root.xpath("//del|//ins")] == ["b = 2", "b = 3"]
    assert root.xpath("//mark/text()") == ["2", "3"]
    assert root.xpath("//img/@src") == [f"data:image/png;base64,{PIXEL}"]
    assert root.xpath("//img/@alt") == ["<Figure>"]
    assert root.xpath("//div[@class='outputs']//td/text()") == ["7"]


def test_a_cell_that_is_only_in_one_of_both_stands_there_once() -> None:
    before = new_notebook(cells=[new_code_cell("old = 1", id="o", outputs=[new_output("stream", text="gone")])])
    after = new_notebook(cells=[new_markdown_cell("# new", id="n")])
    root = check_harmless(page(before, after))
    assert root.xpath("//h3/text()") == ["cell 0 n", "cell 0 o"]
    assert root.xpath("//h3/span/text()") == ["added", "removed"]
    assert [line.text_content() for line in root.xpath("//ins|//del")] == ["# new", "old = 1"]
    assert root.xpath("//div[@class='outputs removed']/pre/text()") == ["gone"]


def test_a_cell_that_moved_says_from_where_to_where() -> None:
    one, two = new_code_cell("a = 1", id="a"), new_code_cell("b = 2", id="b")
    root = check_harmless(page(new_notebook(cells=[one, two]), new_notebook(cells=[two, one])))
    assert [head.text_content() for head in root.xpath("//h3")] == ["cell 1 → 0 bmoved"]
    assert root.xpath("//p/code/text()") == ["b = 2"]


def test_what_a_notebook_shows_is_no_heading_of_the_page() -> None:
    root = check_harmless(page(notebook(), notebook(shown(**{"text/html": "<h1>Approved</h1><h2>by <i>me</i></h2>"}))))
    assert [head.text_content() for head in root.xpath("//h1|//h2")] == ["a <b>", "Cells"]
    assert [each.text_content() for each in root.xpath("//div[@class='outputs']//strong")] == ["Approved", "by me"]


def test_long_outputs_are_folded_and_progress_stands_once() -> None:
    text = "10 %\r100 %\r\n" + "".join(f"{number}\n" for number in range(10_000))
    root = check_harmless(page(notebook(), notebook(new_output("stream", text=text))))
    open_text, folded = root.xpath("//div[@class='outputs']//pre/text()")
    assert open_text.startswith("100 %\n0\n1\n")
    assert folded.startswith("39\n40\n")
    assert root.xpath("//summary/text()") == ["9,961 more lines"]


def test_gained_permissions_stand_on_top() -> None:
    before, after = notebook(), notebook(source="y")
    before.metadata["hermes"] = {"permissions": {"allow": ["web_search"]}}
    after.metadata["hermes"] = {"permissions": {"allow": ["web_search", "read_file(./<b>)"]}}
    root = check_harmless(page(before, after))
    assert root.xpath("//h2/text()") == ["Permissions", "Cells"]
    assert root.xpath("//tr[@class='gained']//code/text()") == ["gained", "allow: read_file(./<b>)"]
    assert root.xpath("//tr[@class='gained']/th/@scope") == ["row"]


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src='https://evil.example/pixel.png'>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='JaVa&#x0A;Script:alert(1)'>x</a>",
    "<a href='data:text/html,<script>1</script>'>x</a>",
    "<svg onload=alert(1)><script>1</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<style>@import url(https://evil.example)</style>",
    "<div style='background:url(https://evil.example)'>x</div>",
    "<iframe srcdoc='<script>1</script>'></iframe>",
    "<form action='https://evil.example'><input name=p><button>x</button></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<link rel=stylesheet href='https://evil.example'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea><img src=x onerror=alert(1)></textarea>",
    "<!--<img src=x onerror=1>--><b>x</b>",
    "<table><td background='https://evil.example'>x",
    "</div></div></body><script>1</script>",
    "<object data='https://evil.example'></object><embed src=x>",
    "<video src='https://evil.example' autoplay></video>",
    "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
    "<b title='\"><script>1</script>'>x</b>",
    "\x00<scr\x00ipt>1</script>",
    "<" * 5000,
    "<b>" * 5000,
]


@pytest.mark.parametrize("markup", HOSTILE, ids=lambda markup: markup[:20])
def test_what_a_kernel_displays_does_nothing(markup: str) -> None:
    outputs = [
        shown(**{"text/html": markup}),
        shown(**{"text/markdown": markup}),
        new_output("stream", text=markup),
        new_output("error", ename=markup, evalue=markup, traceback=[markup]),
        shown(**{"image/png": markup}),
        shown(**{"application/javascript": "alert(1)", "text/plain": markup}),
    ]
    check_harmless(page(notebook(), notebook(*outputs, source=markup)))


def test_sanitised_html_stays_the_same_when_it_is_sanitised_again() -> None:
    for markup in HOSTILE:
        once = safe_html(markup)
        assert safe_html(once) == once


def test_a_vector_picture_is_only_drawn() -> None:
    root = check_harmless(page(notebook(), notebook(shown(**{"image/svg+xml": "<svg onload='alert(1)'/>"}))))
    assert root.xpath("//img/@src")[0].startswith("data:image/svg+xml;base64,")


def test_invisible_characters_are_visible_and_colours_are_gone() -> None:
    text = page(notebook(), notebook(new_output("stream", text="\x1b[31mred\x1b[0m \u202eevil")))
    assert "red \\u{202e}evil" in text


def test_floods_are_cut() -> None:
    before = notebook()
    after = notebook(new_output("stream", text="x y\n" * 500_000), *[new_output("stream", text="z")] * 200)
    text = page(before, copy.deepcopy(after))
    assert len(text) < 2_000_000
    assert "more characters" in text
    assert "more outputs" in text
