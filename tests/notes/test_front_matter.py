"""Front matter: what is read as it, and its scalars as they are written."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from notes.front_matter import LENGTH_MAX, front_matter


def title(text: str) -> str | None:
    header = front_matter(text)
    return header.scalars.get("title") if header else None


class TestYaml:
    @pytest.mark.parametrize(
        "written",
        [
            *("1.10", "010", "0x1F", "12:30:45", "2024-01-05", "2024-01-05T10:00:00Z", "yes", "No"),
            *("true", "1_000", "1e3", ".inf", "+1", "=", "9" * 5_000),
        ],
    )
    def test_a_plain_title_is_kept_as_it_is_written(self, written):
        assert title(f"---\ntitle: {written}\n---\n") == written

    @pytest.mark.parametrize(
        ("block", "expected"),
        [
            ('title: "quoted: \\"1.10\\""', 'quoted: "1.10"'),
            ("title: 'it''s'", "it's"),
            ("title: >\n  folded\n  text\n", "folded text\n"),
            ("title: >-\n  folded\n  text\n", "folded text"),
            ("title: plain\n  over lines", "plain over lines"),
            ("title: X # comment", "X"),
            ("? title\n: X", "X"),
            ("{title: X, tags: [a, b]}", "X"),
            ("first: &name X\ntitle: *name", "X"),
            ("title: !!str 1.10", "1.10"),
            ("title: !!bool maybe", "maybe"),
            ("flag: !!bool maybe\ntitle: X", "X"),
            ("flag: !!python/object:os.system x\ntitle: X", "X"),
            ("title: 'null'", "null"),
            ("title: null", None),
            ("title: ~", None),
            ("title:", None),
            ("title: [a]", None),
            ("title: {a: b}", None),
            ("sub: {title: inner}", None),
            ("sub:\n  title: inner\ntitle: X", "X"),
            ("title: *unknown", None),
            ("title: X\nbad: [yaml", None),
        ],
    )
    def test_every_way_to_write_a_scalar_is_read(self, block, expected):
        assert title(f"---\n{block}\n---\n# Heading") == expected

    @pytest.mark.parametrize("end", ["---", "...", "--- \t", "...\r"])
    def test_both_marks_end_it(self, end):
        text = f"---\ntitle: X\n{end}\nrest"

        header = front_matter(text)

        assert header.scalars == {"title": "X"}
        assert text[header.end :] == "rest"

    def test_line_ends_of_every_kind_are_read(self):
        for line_end in ("\n", "\r\n", "\r"):
            header = front_matter(line_end.join(["---", "title: X", "---", "rest"]))
            assert (header.scalars, header.end) == ({"title": "X"}, 14 + 3 * len(line_end))

    @pytest.mark.parametrize("block", ["just text", "# comment", "- item", "", "[a]"])
    def test_a_block_that_is_no_mapping_is_markdown(self, block):
        assert front_matter(f"---\n{block}\n---\n") is None

    @pytest.mark.parametrize("text", ["", "---", "---\n", "---\ntitle: X\n", " ---\na: b\n---\n"])
    def test_it_begins_the_text_and_is_closed(self, text):
        assert front_matter(text) is None

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_whatever_pyyaml_writes_is_read_back(self, text):
        quoted = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**6)

        assert title(f"---\ntitle: {quoted}---\n") == (text or None)


class TestToml:
    @pytest.mark.parametrize(
        ("block", "expected"),
        [
            ('title = "X"', "X"),
            ("title = '''\nX'''", "X"),
            ('"title" = "X"\n[sub]\ntitle = "inner"', "X"),
            ("title = 1.10 # comment", "1.10"),
            ("title = 1_000", "1_000"),
            ("title = 2024-01-05 10:00:00Z", "2024-01-05 10:00:00Z"),
            ("title = true", "true"),
            ('[sub]\ntitle = "inner"', None),
            ("title = ['a']", None),
            ("title = 010", None),
            (f"title = {'9' * 5_000}", None),
            ("a = " + "[" * 5_000, None),
            ("title = 'X'\nbroken", None),
        ],
    )
    def test_scalars_are_kept_as_they_are_written(self, block, expected):
        assert title(f"+++\n{block}\n+++\n# Heading") == expected

    def test_dashes_do_not_end_it(self):
        assert title('+++\na = """\n---\n"""\ntitle = "X"\n+++\n') == "X"


class TestBounds:
    def test_a_long_block_is_passed_over(self):
        header = front_matter("---\ntitle: X\n" + "#" * LENGTH_MAX + "\n---\nrest")

        assert header.scalars == {}

    def test_a_deep_block_has_no_scalars(self):
        assert title("---\ntitle: X\na: " + "[" * 65 + "]" * 65 + "\n---\n") is None
        assert title("---\ntitle: X\na: " + "[" * 60 + "]" * 60 + "\n---\n") == "X"
