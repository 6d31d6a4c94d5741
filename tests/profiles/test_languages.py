"""Language tags against the examples of RFC 5646, appendix A, and its rules."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.languages import LANGUAGE_PATTERN, is_language_tag

WELL_FORMED = [
    # Appendix A.
    *("de", "fr", "ja", "i-enochian", "zh-Hant", "zh-Hans", "sr-Cyrl", "sr-Latn"),
    *("zh-cmn-Hans-CN", "cmn-Hans-CN", "zh-yue-HK", "yue-HK", "zh-Hans-CN", "sr-Latn-RS"),
    *("sl-rozaj", "sl-rozaj-biske", "sl-nedis", "de-CH-1901", "sl-IT-nedis", "hy-Latn-IT-arevela"),
    *("de-DE", "en-US", "es-419", "de-CH-x-phonebk", "az-Arab-x-AZE-derbend"),
    *("x-whatever", "qaa-Qaaa-QM-x-southern", "de-Qaaa", "sr-Latn-QM", "sr-Qaaa-RS"),
    *("en-US-u-islamcal", "zh-CN-a-myext-x-private", "en-a-myext-b-another"),
    # Section 2.1: all that is grandfathered, whatever its case.
    *("en-GB-oed", "i-ami", "i-bnn", "i-default", "i-hak", "i-klingon", "i-lux", "i-mingo"),
    *("i-navajo", "i-pwn", "i-tao", "i-tay", "i-tsu", "sgn-BE-FR", "sgn-BE-NL", "sgn-CH-DE"),
    *("art-lojban", "cel-gaulish", "no-bok", "no-nyn", "zh-guoyu", "zh-hakka", "zh-min"),
    *("zh-min-nan", "zh-xiang", "I-KLINGON", "SGN-be-nl"),
    # Repeated where that is allowed: within an extension, in private use.
    *("en-a-foo-foo", "en-x-a-a", "en-a-bbb-x-a-ccc", "abcd", "abcdefgh", "en-abc-def-ghi"),
    "de-1996-1901-a-1996",
]
MALFORMED = [
    # Appendix A.
    *("de-419-DE", "a-DE", "ar-a-aaa-b-bbb-a-ccc"),
    # 2.2.5 and 2.2.6: nothing twice, compared without case.
    *("de-1901-1901", "sl-ROZAJ-rozaj", "en-a-foo-a-bar", "en-A-foo-a-bar", "en-0-foo-0-bar"),
    # ASCII alone, also where IGNORECASE would let others pass.
    *(
        "\u017fv",
        "s\u0307v",
        "\u212ao",
        "de-\u0661\u0669\u0660\u0661",
        "de\u2010DE",
        "\uff44\uff45",
    ),
    *("", "-", "e", "en-", "-en", "en--US", "en_US", "en-US-", "en-a", "en-x", "x", "x-", "i-foo"),
    *("abcdefghi", "en-abcdefghi", "en-x-123456789", "de-DE-Latn", "en-abc-def-ghi-jkl", "123"),
    *("en\n", " en", "en ", "en\0", "i-klingon-x", "en-GB-oed-x-y"),
]


class TestIsLanguageTag:
    @pytest.mark.parametrize("tag", WELL_FORMED)
    def test_accepts_a_well_formed_one_in_any_case(self, tag):
        for spelled in (tag, tag.upper(), tag.lower()):
            assert is_language_tag(spelled)
            assert re.search(LANGUAGE_PATTERN, spelled)

    @pytest.mark.parametrize("tag", MALFORMED, ids=lambda tag: ascii(tag)[:30])
    def test_refuses_any_other(self, tag):
        assert not is_language_tag(tag)

    @given(st.text(alphabet="aAxX01-9z\u017f\u212a", max_size=40))
    def test_is_ascii_and_has_no_subtag_over_8_characters(self, tag):
        if is_language_tag(tag):
            assert re.search(LANGUAGE_PATTERN, tag)
            assert tag.isascii()
            assert all(1 <= len(subtag) <= 8 for subtag in tag.split("-"))

    @pytest.mark.parametrize("part", ["a", "-", "-a", "a-", "-abcde", "x-", "-a-bb", "1"])
    def test_ends_soon_whatever_the_length(self, part):
        is_language_tag(part * 100_000)
        is_language_tag("en" + part * 100_000 + "_")


class TestProfile:
    @pytest.mark.usefixtures("backend")
    @pytest.mark.parametrize(
        ("tag", "status"),
        [("\u017fv", 400), ("de-1901-1901", 400), ("en-a-foo-a-bar", 400), ("i-klingon", 200)],
    )
    def test_answers_so(self, send, made, tag, status):
        made()
        preferences = {"language": tag}

        put = send("PUT", "/abc", {"email": "abc@example.org", "preferences": preferences})
        patched = send("PATCH", "/abc/preferences", preferences)

        assert (put.status_code, patched.status_code) == (status, status)
