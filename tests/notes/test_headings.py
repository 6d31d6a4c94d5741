"""The first heading of a document: by the specification, by another parser, and in bounded work."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.stack import ROOT
from notes import headings
from notes.headings import first_heading
from tests.notes.commonmark_reference import collapsed, examples, reference_title

LINES = st.sampled_from(
    [
        *(
            "# Title",
            "## Two ##",
            "# #",
            "#hashtag",
            "####### seven",
            "Title",
            "lines of",
            "  text",
        ),
        *(
            "===",
            "---",
            "  ===",
            "    ===",
            "=",
            "-",
            "* * *",
            "- item",
            "1. one",
            "1) one",
            "+ plus",
        ),
        *(
            "- ",
            "> ",
            "> quote",
            "> # Quoted",
            "- # In a list",
            "```",
            "~~~",
            "    # code",
            "\t# code",
        ),
        *("<!--", "-->", "<div>", "</div>", "<?php", "?>", "<b>", "# a <b>c</b>", "", ""),
        *(
            "# [ref]",
            "# *em* `code` &amp; \\*",
            "# ![alt](u)",
            "**bold**",
            "\u2028# no",
            "a\u2028b",
        ),
        *("\x0b# no", "\x85", "\u00a0# no"),
        # Whether a line right after a definition still belongs to its paragraph, they dispute.
        *("\n[ref]: /url\n", "\n[ref]: /url\n  'title'\n"),
    ]
)

HOSTILE = r"""
import itertools, pathlib, re
from notes.file_import import title_of

awkward = "#*`[<>!\\&-\" \t\n1"
units = [*awkward, *map("".join, itertools.permutations("[<>*\n", 2))]
units += ["![", "[a](", "- a\n", "> #\n" * 100 + "a\n", "\r<ax\n> >", " >[a]: u '\n=|[a]: u\n", "<!--"]
for unit in units:
    for start in ("", "# ", "---\na: ", "+++\na = ")[: 4 if len(unit) == 1 else 1]:
        text = start + unit * ((10_000 if len(unit) == 2 else 100_000) // len(unit))
        end = {"-": "\n---\n", "+": "\n+++\n"}.get(start[:1], "")
        title_of(text[:99_000] + end, markdown=True)
# Not ru_maxrss: that begins with the memory of the process that forked this one.
print(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""


class TestFirstHeading:
    @pytest.mark.parametrize(
        ("markdown", "heading"),
        [
            # CommonMark 0.31.2, section 4.2
            ("###### six", "six"),
            ("####### seven", None),
            ("#5 bolt\n\n#hashtag", None),
            ("\\## text", None),
            ("#\tTab", "Tab"),
            ("# inner # mark", "inner # mark"),
            ("# closed \\#", "closed #"),
            ("## \n#\n### ###\n# Filled", "Filled"),
            # 4.3
            ("over\ntwo lines\n===", "over two lines"),
            ("> quote\n-----", None),
            ("- item\n-----", None),
            ("> quote\n===\n\nAfter\n---", "After"),
            ("- item\n===\n\nAfter\n===", "After"),
            ("`a\n---\nb`", "`a"),
            ("    code\n---", None),
            ("a\n= =\n", None),
            # 4.4 to 4.6
            ("    # code\n\n# After", "After"),
            ("```\n# code\n```\n# After", "After"),
            ("~~~ ~~~\n# code\n~~~\n# After", "After"),
            ("```\n# never closed", None),
            ("<!--\n# comment\n\n# comment\n-->\n# After", "After"),
            ("<pre>\n# raw\n\n# raw\n</pre>\n# After", "After"),
            ("<div>\n# raw\n\n# After", "After"),
            # 4.7
            ("# [name]\n\n[name]: /url", "name"),
            ("[Not a heading]: /url\n===\n# After", "After"),
            ("# [text][NAME]\n\n> [name]: javascript:x", "text"),
            # 5
            ("> # quoted", "quoted"),
            ("1. - # in lists", "in lists"),
            # 6
            (
                "# *a* __b__ `c` [d](/u 'v') <https://e.f> &amp; &#35; \\*",
                "a b c d https://e.f & # *",
            ),
            ("# a<br>b <i>c</i>", "ab c"),
            ("# ![image *of* a](/u)", "image of a"),
            ("a\\\nb  \nc\n===", "a b c"),
            # 2.1
            ("\u2028# no line break\u2028# here\x0b# either\n# Yes", "Yes"),
            ("a\r# By carriage return\r\n# b", "By carriage return"),
        ],
    )
    def test_is_the_one_that_commonmark_defines(self, markdown, heading):
        assert collapsed(first_heading(markdown)) == heading
        assert reference_title(markdown) == heading

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.lists(LINES, max_size=15).map("\n".join))
    def test_is_the_one_that_another_parser_sees(self, markdown):
        assert collapsed(first_heading(markdown)) == reference_title(markdown)

    def test_the_specification_s_examples_are_read_as_its_text_says(self):
        page = "text\n" + "`" * 32 + " example\n→# a\n.\n<p>x</p>\n" + "`" * 32 + "\n\n"

        assert examples(page * 2) == ["\t# a\n", "\t# a\n"]


class TestBounds:
    def test_a_heading_before_the_bound_is_seen(self, monkeypatch):
        monkeypatch.setattr(headings, "_CALLS_MAX", 400_000)
        # Unbounded this takes minutes: each line begins a quote that looks through all the rest.
        hostile = "\r<ax\n> >" * 10_000

        assert first_heading(f"# First\n{hostile}\n\n# Last") == "First"

    def test_a_heading_past_the_bound_is_not_seen(self, monkeypatch):
        monkeypatch.setattr(headings, "_CALLS_MAX", 1_000)

        assert first_heading("text\n\n" * 1_000 + "# Last") is None
        assert sys.getprofile() is None

    def test_hostile_documents_end_within_bounded_time_and_memory(self):
        """In a process of its own: 100 000 of each awkward character, pairs, and what was slow."""
        done = subprocess.run(
            [sys.executable, "-c", HOSTILE],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,  # a few seconds alone
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")
        assert int(done.stdout) < 300 * 1024  # KiB at most; each document is 100 KB

    def test_a_profiler_stays(self, monkeypatch):
        def profiler(frame, event, argument):
            pass

        sys.setprofile(profiler)
        try:
            assert first_heading("# Title") == "Title"
            assert sys.getprofile() is profiler
        finally:
            sys.setprofile(None)
