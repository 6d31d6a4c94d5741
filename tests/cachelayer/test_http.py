"""Conditional requests, asking past the cache, and what Cache-Status says."""

import pytest

from cachelayer import http
from cachelayer.entries import Bypass, Cached, Source
from cachelayer.http import PreconditionFailed, Preconditions, Representation


class TestEtagOf:
    def test_depends_on_the_body_alone(self):
        assert http.represent(b"x") == Representation(http.etag_of(b"x"), b"x")
        assert http.etag_of(b"x") != http.etag_of(b"y")

    def test_is_strong_and_quoted(self):
        assert http.etag_of(b"x").startswith('"')


def passes(preconditions: Preconditions, etag: str | None) -> bool:
    try:
        preconditions.require(etag)
    except PreconditionFailed:
        return False
    return True


class TestPreconditions:
    @pytest.mark.parametrize(
        ("field", "holds"),
        [
            (None, True),
            ("*", True),
            (" * ", True),
            ('"a"', True),
            ('"b", "a"', True),
            (', "b",,\t"a" ,', True),
            ('"x,y","a"', True),
            ('"b"', False),
            ('W/"a"', False),
            ('W/"b", "a"', True),
            ("a", False),
            ("", False),
            ('"a', False),
            ('"a" "b"', False),
            ('*, "a"', False),
            ('w/"a"', False),
            ('"a", b', False),
        ],
    )
    def test_if_match_compares_strongly(self, field, holds):
        assert passes(Preconditions(if_match=field), '"a"') is holds

    @pytest.mark.parametrize(
        ("field", "holds"),
        [
            (None, True),
            ("*", False),
            ('"a"', False),
            ('W/"a"', False),
            ('"b", W/"a"', False),
            ('"x, "a", y"', False),  # malformed: nobody can say what it lists
            ('"b"', True),
            ("", True),
            ("a", False),
            ('*, "b"', False),
        ],
    )
    def test_if_none_match_compares_weakly(self, field, holds):
        assert passes(Preconditions(if_none_match=field), '"a"') is holds

    @pytest.mark.parametrize(
        ("fields", "holds"),
        [
            ({"if_match": "*"}, False),
            ({"if_match": '"a"'}, False),
            ({"if_none_match": "*"}, True),
            ({"if_none_match": '"a"'}, True),
        ],
    )
    def test_without_a_representation(self, fields, holds):
        assert passes(Preconditions(**fields), None) is holds

    @pytest.mark.parametrize(
        ("fields", "holds"),
        [
            ({"if_match": "*"}, True),
            ({"if_match": '""'}, False),
            ({"if_none_match": "*"}, False),
            ({"if_none_match": '"a"'}, True),
        ],
    )
    def test_with_a_representation_that_has_no_tag(self, fields, holds):
        assert passes(Preconditions(**fields), "") is holds

    def test_one_that_does_not_hold_says_which(self):
        with pytest.raises(PreconditionFailed, match=r"^If-Match is neither"):
            Preconditions("a", "*").require('"a"')
        with pytest.raises(PreconditionFailed, match=r"^If-None-Match names"):
            Preconditions('"a"', "*").require('"a"')

    @pytest.mark.parametrize("character", ['"', ",", " ", "\t", "W", "/", "*", "a", "\x80"])
    def test_a_long_hostile_field_is_read_in_time(self, character):
        passes(Preconditions(character * 100_000, character * 100_000), '"a"')


class TestNotModified:
    @pytest.mark.parametrize(
        ("field", "same"),
        [("", False), ('"a"', True), ('W/"a"', True), ("*", True), ('"b"', False), ("a", False)],
    )
    def test_compares_weakly(self, field, same):
        assert http.not_modified(field, '"a"') is same


class TestBypassOf:
    @pytest.mark.parametrize(
        ("header", "parameter", "bypass"),
        [
            ("", None, Bypass.NO),
            ("max-age=0", None, Bypass.NO),
            ("no-cache", None, Bypass.REFRESH),
            ("No-Cache, max-age=0", None, Bypass.REFRESH),
            ("no-store", None, Bypass.NO_STORE),
            ("no-cache, no-store", "false", Bypass.NO_STORE),
            ("", "false", Bypass.REFRESH),
            ("", "true", Bypass.NO),
        ],
    )
    def test_reads_header_and_parameter(self, header, parameter, bypass):
        assert http.bypass_of(header, cache_parameter=parameter) is bypass


class TestCacheStatus:
    @pytest.mark.parametrize(
        ("source", "field"),
        [
            (Source.HIT, "trilith; hit; ttl=7"),
            (Source.FIRST_LEVEL, "trilith; hit; ttl=7; detail=L1"),
            (Source.LOADED, "trilith; fwd=uri-miss; stored"),
            (Source.COLLAPSED, "trilith; fwd=uri-miss; collapsed; stored"),
            (Source.FENCED, "trilith; fwd=uri-miss"),
            (Source.BYPASSED, "trilith; fwd=bypass"),
            (Source.STALE, "trilith; hit; ttl=7; detail=stale"),
            (Source.CACHE_DOWN, "trilith; fwd=miss; detail=cache-down"),
        ],
    )
    def test_tells_the_source(self, source, field):
        assert http.cache_status(Cached(None, source, 7)) == field
