"""Which title a file has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notes import markdown
from notes.limits import TITLE_MAX_CHARACTERS


class TestTitleOf:
    @pytest.mark.parametrize(
        ("content", "title"),
        [
            ("# Heading\ntext", "Heading"),
            ("text\n\n## Second  level ##\n", "Second level"),
            ("   ### Indented", "Indented"),
            ("#hashtag\n# Real", "Real"),
            ("Underlined\n===\n", "Underlined"),
            ("Also underlined\n---\n", "Also underlined"),
            ("```\n# code\n```\n# After", "After"),
            ("~~~~\n# code\n~~~\n# still code\n~~~~\n# After", "After"),
            ("---\ntitle: From the front\n---\n# Heading", "From the front"),
            ("---\r\ntitle: 'Quoted'\r\n---\r\n# Heading", "Quoted"),
            ("---\ntitle: 2024\n---\n", "2024"),
            ("---\ntags: [a]\n---\n# Heading", "Heading"),
            ("---\ntitle: ''\n---\n# Heading", "Heading"),
            ("---\ntitle: [a, b]\n---\n# Heading", "Heading"),
            ("---\nbad: [yaml\n---\n# Heading", "Heading"),
            ("---\njust text\n---\n# Heading", "Heading"),
            ('---\ntitle: "nul \\0 and \\ud800"\n---\n', "nul and ?"),
            ("# \n# Filled", "Filled"),
            ("no heading", None),
            ("", None),
        ],
    )
    def test_is_the_front_matter_s_or_the_first_heading_s(self, content, title):
        assert markdown.title_of(content, markdown=True) == title

    def test_headings_of_plain_text_are_text(self):
        assert markdown.title_of("# not a heading", markdown=False) is None

    def test_a_long_title_ends_in_an_ellipsis(self):
        title = markdown.title_of("# " + "x" * 300, markdown=True)

        assert title == "x" * (TITLE_MAX_CHARACTERS - 1) + "…"

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_any_text_gives_a_title_that_a_note_may_have_or_none(self, content):
        title = markdown.title_of(content, markdown=True)

        if title is not None:
            assert 1 <= len(title) <= TITLE_MAX_CHARACTERS
            assert title == title.strip()
            assert "\0" not in title
