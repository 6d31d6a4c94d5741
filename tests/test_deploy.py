"""The proxies' configurations that ship: what the site cannot tell apart does not reach it."""

import re

import pytest

from config.stack import ROOT

NGINX = ROOT / "docs" / "deploy" / "nginx.conf"
HAPROXY = ROOT / "docs" / "deploy" / "haproxy.cfg"


def directives(text: str) -> list[str]:
    """Return the directives, without comments and white space."""
    lines = (re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
    return [" ".join(line.split()) for line in lines if line.split()]


def of_http_block(text: str) -> list[str]:
    """Return the directives of nginx that stand in no block of the file, which is in the http block."""
    depth, outer = 0, []
    for line in directives(text):
        if depth == 0:
            outer.append(line)
        depth += line.count("{") - line.count("}")
    assert depth == 0
    return outer


class TestNames:
    """granian makes HTTP_X_USER_ID of X_User_Id and of X-User-Id, and the last value wins."""

    def test_with_underscores_are_dropped_by_nginx(self):
        outer = of_http_block(NGINX.read_text())

        assert "underscores_in_headers off;" in outer
        assert "ignore_invalid_headers on;" in outer
        assert NGINX.read_text().count("underscores_in_headers ") == 1
        assert NGINX.read_text().count("ignore_invalid_headers ") == 1

    def test_with_underscores_are_dropped_by_haproxy(self):
        lines = directives(HAPROXY.read_text())

        frontend = lines.index("frontend trilith")
        restriction = lines.index("option http-restrict-req-hdr-names delete")
        assert frontend < restriction < lines.index("backend trilith")
        assert HAPROXY.read_text().count("http-restrict-req-hdr-names") == 1


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        (
            NGINX,
            {
                "proxy_set_header X-User-Id $user_id;",
                "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
                "proxy_set_header X-Forwarded-Proto $scheme;",
                "proxy_set_header Host $host;",
            },
        ),
        (
            HAPROXY,
            {
                "http-request set-header X-User-Id %[ssl_c_s_dn(cn)]",
                "http-request set-header X-Forwarded-Proto https",
                "option forwardfor",
            },
        ),
    ],
    ids=["nginx", "haproxy"],
)
def test_what_the_site_believes_is_the_proxy_s_word(path, lines):
    assert lines <= set(directives(path.read_text()))
