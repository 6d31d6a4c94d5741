"""Which title a file has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notes import file_import
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
            ("---\njust text\n---\n# Heading", "just text"),
            ('---\ntitle: "nul \\0 and tab \\t."\n---\n', "nul and tab ."),
            ('---\ntitle: "\\ud800"\n---\n# Heading', "Heading"),
            ("---\ntitle: 'Two  spaces'\n---\n", "Two  spaces"),
            ("\x0b# no line break\u2028# neither\n# Yes", "Yes"),
            ("# \n# Filled", "Filled"),
            ("no heading", None),
            ("", None),
        ],
    )
    def test_is_the_front_matter_s_or_the_first_heading_s(self, content, title):
        assert file_import.title_of(content, markdown=True) == title

    def test_headings_of_plain_text_are_text(self):
        assert file_import.title_of("# not a heading", markdown=False) is None

    def test_a_long_title_ends_in_an_ellipsis(self):
        title = file_import.title_of("# " + "x" * 300, markdown=True)

        assert title == "x" * (TITLE_MAX_CHARACTERS - 1) + "…"

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def test_any_text_gives_a_title_that_a_note_may_have_or_none(self, content):
        title = file_import.title_of(content, markdown=True)

        if title is not None:
            assert 1 <= len(title) <= TITLE_MAX_CHARACTERS
            assert title == title.strip()
            assert "\0" not in title
