"""Bodies as clients send them, and whose word a request is: by hand, and over sockets to a real site."""

import http.client
import io
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlencode, urlsplit

import pytest

from config.web import gateway
from loadtests.testbed.site import Site, running_site

TOKEN = "a token that only staff has"
LIMIT = 100_000  # bytes of a body
PASSWORD = "correct horse battery staple"


class OneByOne(io.BytesIO):
    """A body of which each read brings at most three bytes, as a read of chunks may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3 if size is None or size < 0 else min(3, size))


@pytest.fixture
def echo(settings):
    """Return what the application gets to see of a body; None where it is not called."""
    settings.REQUEST_BODY_MAX_BYTES = 10
    received = []

    def application(environ, start_response):
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length or 0))
        received.append(
            (length, body, *([gateway.ENDS_EARLY] if gateway.ENDS_EARLY in environ else []))
        )
        return []

    def call(body: bytes, **environ: str):
        received.clear()
        gateway.with_complete_bodies(application)(
            {"wsgi.input": OneByOne(body), **environ}, lambda *_: None
        )
        return received[0] if received else None

    return call


class TestWithWholeBodies:
    def test_a_body_in_chunks_has_a_length(self, echo):
        assert echo(b"01234567", HTTP_TRANSFER_ENCODING="chunked") == ("8", b"01234567")

    def test_of_one_that_is_too_long_one_byte_too_many_is_read(self, echo):
        assert echo(b"x" * 1000, HTTP_TRANSFER_ENCODING="chunked") == ("11", b"x" * 11)

    def test_a_body_with_a_length_is_as_long(self, echo):
        assert echo(b"01234567", CONTENT_LENGTH="5") == ("5", b"01234")

    def test_one_that_ends_before_it_is_marked(self, echo):
        assert echo(b"0123", CONTENT_LENGTH="5") == ("4", b"0123", gateway.ENDS_EARLY)

    def test_one_that_is_too_long_by_its_length_is_seen_to_be(self, echo):
        assert echo(b"x" * 1000, CONTENT_LENGTH="1000") == ("11", b"x" * 11)

    def test_without_a_body_nothing_is_read(self, echo):
        assert echo(b"ignored") == (None, b"")


class TestSilenceEnvironment:
    @pytest.mark.parametrize(
        ("name", "is_silenced"),
        [
            *((name, True) for name in ("HTTP_X_USER_ID", "HTTP_AUTHORIZATION", "HTTP_PROXY")),
            *((name, True) for name in ("CONTENT_TYPE", "CONTENT_LENGTH", "REMOTE_USER")),
            *((name, True) for name in ("SCRIPT_URL", "wsgi.url_scheme", "CSRF_COOKIE")),
            *((name, False) for name in ("HTTPS", "REQUEST_BODY_MAX_BYTES", "SERVES_REQUESTS")),
            *((name, False) for name in ("PATH", "CSRF_TRUSTED_ORIGINS", "http_proxy")),
        ],
    )
    def test_takes_out_what_would_speak_for_a_request(self, monkeypatch, name, is_silenced):
        monkeypatch.setenv(name, "x")

        gateway.remove_request_variables()

        assert (name not in os.environ) is is_silenced


class TestIgnoreCharset:
    @pytest.mark.parametrize(
        ("sent", "seen"),
        [
            ("application/json", "application/json"),
            ("application/json; a=b", "application/json; a=b"),
            ("application/json; charset=utf-8", "application/json"),
            ("text/plain; a=b; CHARSET=rot13", "text/plain"),
            ("text/plain; charset*=utf-8''rot13", "text/plain"),
            ("text/plain; charset*0=rot; charset*1=13", "text/plain"),
            ("text/plain; a*=nothing''x", "text/plain"),
            ("multipart/form-data; boundary=x", "multipart/form-data; boundary=x"),
            ("; charset=rot13", ""),
            ("", ""),
        ],
    )
    def test_leaves_no_parameter_by_which_text_is_decoded(self, sent, seen):
        environ = {"CONTENT_TYPE": sent}

        gateway.ignore_charset(environ)

        assert environ == {"CONTENT_TYPE": seen}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    variables = {
        "ADMIN_TOKEN": TOKEN,
        "REQUEST_BODY_MAX_BYTES": str(LIMIT),
        "HTTP_X_USER_ID": "environment",
        "HTTP_AUTHORIZATION": f"Bearer {TOKEN}",
        "CONTENT_TYPE": "application/json",
        "REMOTE_USER": "environment",
    }
    with running_site("gateway", notes=10, workers=1, threads=4, variables=variables) as running:
        account = {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
        running.manage(
            *("createsuperuser", "--no-input", "--username", "boss", "--email", "b@example.org"),
            variables=account,
        )
        yield running
    running.stack.reset()


def connect(site: Site) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=30)


def in_chunks(site: Site, method: str, path: str, chunks: Iterable[bytes], **headers: str):
    """Send a body in chunks; return status, headers and body of the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = connect(site)
    connection.request(
        method,
        path,
        iter(chunks),
        {"Content-Type": "application/json", "X-User-Id": "abc", **named},
        encode_chunked=True,
    )
    response = connection.getresponse()
    answer = response.status, response.headers, response.read()
    connection.close()
    return answer


def exchange(site: Site, raw: bytes, *, end: bool = False) -> tuple[int, bytes]:
    """Send bytes as they are; return status and body of the answer. end: say nothing more."""
    parts = urlsplit(site.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sent:
        sent.sendall(raw)
        if end:
            sent.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(sent)
        response.begin()
        return response.status, response.read()


NOTE = [b'{"title": "In ', b'pieces", "con', b'tent": "x"}']


class TestChunks:
    def test_a_note_is_created_and_replaced(self, site):
        status, headers, body = in_chunks(site, "POST", "/api/v1/notes", NOTE)

        assert (status, json.loads(body)["title"]) == (201, "In pieces")

        path = urlsplit(headers["Location"]).path
        changed = [json.dumps({"title": "New", "content": "y" * 20_000}).encode()]
        assert in_chunks(site, "PUT", path, changed)[0] == 200
        status, _, body = in_chunks(site, "PATCH", path, [b'{"title":', b' "Newer"}'])
        note = json.loads(body)
        assert (status, note["title"], len(note["content"])) == (200, "Newer", 20_000)
        assert in_chunks(site, "DELETE", path, [])[0] == 204

    def test_preferences_are_merged(self, site):
        profile = [b'{"user_id": "chunky", ', b'"email": "chunky@example.org"}']
        caller = {"X-User-Id": "chunky"}
        assert in_chunks(site, "POST", "/api/v1/profiles", profile, **caller)[0] == 201

        path = "/api/v1/profiles/chunky/preferences"
        status, _, body = in_chunks(site, "PATCH", path, [b'{"theme": ', b'"dark"}'], **caller)
        changed = json.loads(body)
        assert (status, changed["preferences"]["theme"], changed["version"]) == (200, "dark", 2)

        status, _, body = in_chunks(site, "PATCH", path, [], **caller)
        assert (status, json.loads(body)["detail"]) == (400, "The body is empty; JSON is expected.")

    def test_so_does_a_form_of_the_admin(self, site):
        connection = connect(site)
        connection.request("GET", "/admin/login/")
        response = connection.getresponse()
        cookie = response.headers["Set-Cookie"].split(";")[0]
        token = re.search(rb'csrfmiddlewaretoken" value="(\w+)"', response.read())
        connection.close()
        assert token
        form = urlencode(
            {"csrfmiddlewaretoken": token[1], "username": "boss", "password": PASSWORD}
        ).encode()

        status, headers, _ = in_chunks(
            site,
            "POST",
            "/admin/login/?next=/admin/",
            [form[:40], form[40:]],
            Content_Type="application/x-www-form-urlencoded",
            Cookie=cookie,
        )

        assert (status, headers["Location"]) == (302, "/admin/")

    @pytest.mark.parametrize("path", ["/api/v1/notes", "/admin/login/"])
    def test_too_many_are_a_413_and_the_next_request_is_served(self, site, path):
        raw = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % path.encode()
        raw += b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
        raw += b"%x\r\n%s\r\n0\r\n\r\n" % (LIMIT + 1, b" " * (LIMIT + 1))

        status, body = exchange(site, raw)

        assert (status, json.loads(body)["status"]) == (413, 413)
        assert in_chunks(site, "POST", "/api/v1/notes", NOTE)[0] == 201

    def test_as_many_as_there_may_be_are_read(self, site):
        note = json.dumps({"title": "x", "content": "y" * 90_000}).encode()

        body = [note, b" " * (LIMIT - len(note))]

        assert in_chunks(site, "POST", "/api/v1/notes", body)[0] == 201

    def test_extensions_and_trailers_are_passed_over(self, site):
        raw = b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: Chunked\r\n"
        raw += b"Content-Type: application/json\r\n\r\n"
        raw += b'c;a="b"\r\n{"title": "x\r\n2\r\n"}\r\n0\r\nX-User-Id: eve\r\n\r\n'

        status, body = exchange(site, raw)

        assert (status, json.loads(body)["user_id"]) == (201, "demo")

    def test_another_transfer_coding_is_a_501(self, site):
        raw = b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        raw += b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"

        status, body = exchange(site, raw)

        assert (status, json.loads(body)["status"]) == (501, 501)


class TestLengths:
    def test_too_long_a_body_is_a_413_also_where_nobody_reads_it(self, site):
        raw = b"DELETE /api/v1/notes/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s"

        status, body = exchange(site, raw % (LIMIT + 1, b"x" * (LIMIT + 1)))

        assert (status, json.loads(body)["status"]) == (413, 413)

    def test_a_body_that_breaks_off_is_a_400_and_no_shorter_body(self, site):
        raw = b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        raw += b"Content-Type: application/x-www-form-urlencoded\r\n\r\nusername=boss"

        status, body = exchange(site, raw, end=True)

        assert status == 400
        assert b"shorter than Content-Length" in body

    def test_of_the_api_it_is_a_problem_that_says_so(self, site):
        raw = b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        raw += b'Content-Type: application/json\r\n\r\n{"title": '

        status, body = exchange(site, raw, end=True)

        problem = json.loads(body)
        assert (status, problem["status"]) == (400, 400)
        assert [error["field"] for error in problem["errors"]] == ["body"]
        assert problem["request_id"]


class TestClientsThatSendOn:
    """Most clients read the answer only once all is sent, and give up where they cannot send."""

    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("path", ["/api/v1/notes", "/admin/login/"])
    def test_get_to_read_the_413(self, site, is_chunked, path):
        body = b"x" * (LIMIT * 8)
        connection = connect(site)
        connection.request(
            "POST", path, iter([body]) if is_chunked else body, encode_chunked=is_chunked
        )

        assert connection.getresponse().status == 413
        connection.close()


class TestEnvironment:
    def test_speaks_for_no_request(self, site):
        status, body = exchange(
            site,
            b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"title": "x"}',
        )
        assert (status, json.loads(body)["user_id"]) == (201, "demo")

        for headers, expected in ((b"", 401), (b"Authorization: Bearer x\r\n", 403)):
            raw = b"POST /api/v1/admin/cache/clear HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            assert exchange(site, raw + headers + b"Content-Length: 0\r\n\r\n")[0] == expected

        untyped = b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
        assert exchange(site, untyped)[0] == 415


class TestCharsets:
    """Text is UTF-8, whatever the Content-Type says: Django alone answers some of these by an empty 500."""

    NAMES = [
        "=utf-8",
        "=utf-16",
        "=rot13",
        "=idna",
        "=undefined",
        "=hex",
        "*=utf-8''rot13",
        "*=no''x",
    ]

    def send(self, site: Site, method: str, target: str, media_type: str, body: bytes = b"") -> int:
        connection = connect(site)
        connection.request(method, target, body, {"Content-Type": media_type})
        status = connection.getresponse().status
        connection.close()
        return status

    @pytest.mark.parametrize("name", NAMES)
    def test_change_nothing(self, site, name):
        many = "&".join(["a"] * 1001)

        for method, target, media_type, body, expected in (
            ("GET", "/api/v1/notes?limit=%31", "application/json", b"", 200),
            ("GET", f"/api/v1/notes?{many}", "application/json", b"", 400),
            ("GET", "/health/live?x=%41", "text/plain", b"", 200),
            ("GET", "/?q=%41", "text/plain", b"", 200),
            ("POST", "/api/v1/notes", "application/json", '{"title": "ä"}'.encode(), 201),
            ("POST", "/api/v1/notes?x=%41", "application/json", b'{"title": "x"}', 400),
            ("POST", "/api/v1/notes", "text/plain", b'{"title": "x"}', 415),
            ("POST", "/admin/login/?next=%41", "multipart/form-data; boundary=x", b"--x--", 403),
        ):
            sent = f"{media_type}; charset{name}"
            assert self.send(site, method, target, sent, body) == expected, (method, target)


class TestFields:
    """What granian makes of several lines of one field, and of two spellings of one name."""

    def create(self, site: Site, lines: bytes) -> tuple[int, dict]:
        raw = b"POST /api/v1/notes HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 14\r\n"
        raw += b"Content-Type: application/json\r\n" + lines + b'\r\n{"title": "x"}'
        status, body = exchange(site, raw)
        return status, json.loads(body)

    def test_lines_of_a_list_are_one_list(self, site):
        lines = b'If-None-Match: "a"\r\nIf-None-Match: W/"b"\r\n'
        assert self.create(site, lines)[0] == 201
        assert self.create(site, lines + b"If-Match: *\r\nIf-Match: *\r\n")[0] == 412

    def test_two_callers_are_none(self, site):
        status, body = self.create(site, b"X-User-Id: abc\r\nX-User-Id: eve\r\n")

        assert (status, body["errors"][0]["field"]) == (400, "X-User-Id")

    def test_spellings_are_not_distinguished_which_is_why_proxies_drop_one(self, site):
        """Where this fails, granian has mended it, and config/deploy may say so."""
        status, body = self.create(site, b"X-User-Id: abc\r\nX_User_Id: eve\r\n")

        assert (status, body["user_id"]) == (201, "eve")
