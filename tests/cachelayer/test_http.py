"""Conditional requests, asking past the cache, and what Cache-Status says."""

import pytest

from cachelayer import http
from cachelayer.answers import Bypass, Cached, Source
from cachelayer.http import Representation


class TestEtagOf:
    def test_depends_on_the_body_alone(self):
        assert http.represent(b"x") == Representation(http.etag_of(b"x"), b"x")
        assert http.etag_of(b"x") != http.etag_of(b"y")

    def test_is_strong_and_quoted(self):
        assert http.etag_of(b"x").startswith('"')


class TestIfMatchAllows:
    @pytest.mark.parametrize(
        ("header", "allowed"),
        [
            (None, True),
            ("*", True),
            ('"a"', True),
            ('"b", "a"', True),
            ('"b"', False),
            ('W/"a"', False),
            ("a", False),
            ("", False),
        ],
    )
    def test_compares_strongly(self, header, allowed):
        assert http.if_match_allows(header, '"a"') is allowed


class TestNotModified:
    @pytest.mark.parametrize(
        ("header", "same"),
        [(None, False), ("", False), ('"a"', True), ('W/"a"', True), ("*", True), ('"b"', False)],
    )
    def test_compares_weakly(self, header, same):
        assert http.not_modified(header, '"a"') is same


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
        assert http.bypass_of({"Cache-Control": header}, cache_parameter=parameter) is bypass


class TestCacheStatus:
    @pytest.mark.parametrize(
        ("source", "told"),
        [
            (Source.HIT, "trilith; hit; ttl=7"),
            (Source.LOADED, "trilith; fwd=uri-miss; stored"),
            (Source.COLLAPSED, "trilith; fwd=uri-miss; collapsed; stored"),
            (Source.FENCED, "trilith; fwd=uri-miss"),
            (Source.BYPASSED, "trilith; fwd=bypass"),
            (Source.STALE, "trilith; hit; ttl=7; detail=stale"),
            (Source.CACHE_DOWN, "trilith; fwd=miss; detail=cache-down"),
        ],
    )
    def test_tells_the_source(self, source, told):
        assert http.cache_status(Cached(None, source, 7)) == told
