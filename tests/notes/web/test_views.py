"""The pages of notes, over the real servers."""

import inspect
import itertools
import re
import uuid
from html import unescape
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client

from cachelayer import client as cache_client
from cachelayer import protocol
from config.postgres import outages
from config.stack.process import wait_until
from config.web import data_layer
from notes import services
from notes.models import Note
from tests.builders import make_note, make_notes
from tests.notes.web.test_markdown import ATTACKS, read

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser() -> Client:
    """A browser whose user has chosen to be abc."""
    browser = Client(raise_request_exception=False)
    choose(browser, "abc")
    return browser


def choose(browser: Client, user_id: str, **fields: str):
    return browser.post("/user", {"user_id": user_id, **fields})


def fields_of(response) -> dict[str, str]:
    """The hidden fields of the page's own form, and what its text fields hold."""
    main = response.content.decode().split("<main", 1)[1]
    return {
        name: unescape(value)
        for name, value in re.findall(r'<input[^>]*? name="(\w+)" value="([^"]*)"', main)
    }


def strip_of(response) -> str:
    text = response.content.decode().split("<aside", 1)[1].split("</aside>")[0]
    text = re.sub("(</t[hd]>|<dd>|<br>)", r" \1", text)
    return " ".join(read(text).text.split())


class TestListPage:
    def test_lists_notes_with_links_to_them(self, browser):
        note = make_note(title="Groceries & <more>")

        page = browser.get("/")

        assert page.status_code == 200
        assert page["Content-Type"] == "text/html; charset=utf-8"
        text = page.content.decode()
        assert "<h1>Trilith</h1>" in text
        assert f'<a href="/notes/{note}"><bdi>Groceries &amp; &lt;more&gt;</bdi></a>' in text

    def test_leads_to_documentation_admin_health_and_schema(self, browser):
        targets = re.findall('<a href="([^"]+)"', browser.get("/").content.decode())

        assert {"/api/docs", "/api/schema", "/admin/", "/health", "/metrics"} < set(targets)
        for target in targets:
            if target.startswith("/"):
                assert Client().get(target).status_code in (200, 302, 503), target

    def test_searches_by_words_and_by_user(self, browser):
        make_note(title="apples and pears", user_id="abc")
        make_note(title="apples alone", user_id="xyz")

        found = browser.get("/", {"q": "apple", "userId": "xyz", "sort": "title:ASC"})
        everything = browser.get("/", {"q": "", "userId": ""})  # as the empty form is sent

        assert "apples alone" in found.content.decode()
        assert "apples and pears" not in found.content.decode()
        assert "2 notes" in everything.content.decode()

    def test_leads_from_page_to_page(self, browser):
        make_notes(45)

        first = browser.get("/").content.decode()
        links = [unescape(link) for link in re.findall('rel="next" href="([^"]+)"', first)]
        second = browser.get(links[0]).content.decode()

        assert "45 notes, page 2" in second
        assert 'rel="prev"' in second

    def test_reads_by_cursor_too(self, browser):
        make_notes(25)

        first = browser.get("/?cursor=").content.decode()
        links = [unescape(link) for link in re.findall('rel="next" href="([^"]+)"', first)]

        assert "cursor=" in links[0]
        assert browser.get(links[0]).content.decode().count("<bdi>") == 5

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("page=0", "page: "),
            ("limit=x", "limit: "),
            ("colour=red", "colour: "),
            ("q=" + 201 * "x", "q: "),
            ("page=abc", "page: "),
            ("page=-1", "page: "),
            ("page=" + 30 * "9", "page: "),
            ("page=1&page=2", "page: "),
            ("q=%00", "q: "),
            ("userId=%00", "userId: "),
            ("sort=x", "sort: "),
            ("cursor=x", "cursor: "),
        ],
    )
    def test_says_what_is_wrong_with_a_query(self, browser, query, message):
        page = browser.get(f"/?{query}")

        assert page.status_code == 400
        assert b"\0" not in page.content
        assert 'role="alert"' in page.content.decode()
        assert message in page.content.decode()

    def test_shows_a_request_to_the_requested_host(self, settings):
        settings.ALLOWED_HOSTS = ["*"]

        page = Client().get("/", headers={"Host": "a.example:8000"}).content.decode()

        assert "curl -i 'http://a.example:8000/api/v1/notes?limit=2'" in page

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_is_only_read(self, method):
        answer = Client(enforce_csrf_checks=True).generic(method, "/")

        assert answer.status_code == 405
        assert answer["Allow"] == "GET, HEAD"

    @pytest.mark.parametrize(
        ("path", "media"), [("/x", "text/html"), ("/api/", "application/problem+json")]
    )
    def test_every_other_unknown_path_is_a_404(self, path, media):
        answer = Client().get(path)

        assert answer.status_code == 404
        assert answer["Content-Type"].startswith(media)

    @pytest.mark.parametrize("path", ["/x", "/notes/x", "/notes/%00", "/notes/<b>"])
    def test_which_looks_like_the_other_pages(self, browser, path):
        page = browser.get(path)

        assert page.status_code == 404
        assert "pages.css" in page.content.decode()
        assert "<h1>404 Not Found</h1>" in page.content.decode()
        assert "<b>" not in page.content.decode()
        assert b"\0" not in page.content
        assert page["Content-Security-Policy"].startswith("default-src 'none'")

    def test_says_that_there_is_none(self, browser):
        assert "No note matches." in browser.get("/?userId=nobody").content.decode()


class TestHeaders:
    @pytest.mark.parametrize("path", ["/", "/notes/new", "/?page=0", f"/notes/{uuid.UUID(int=0)}"])
    def test_guard_each_page(self, browser, path):
        page = browser.get(path)

        policy = page["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert page["Cache-Control"] == "private, no-cache"
        assert page["X-Frame-Options"] == "DENY"
        assert page["X-Content-Type-Options"] == "nosniff"
        assert page["Referrer-Policy"] == "same-origin"

    def test_nothing_is_loaded_from_outside_or_inline(self, browser):
        note = make_note(content="![x](https://e.example/x.png)")
        for path in ("/", "/notes/new", f"/notes/{note}", f"/notes/{note}/edit"):
            text = browser.get(path).content.decode()
            loaded = re.findall('(?:src|<link[^>]* href)="([^"]+)"', text)

            assert {urlsplit(url).netloc for url in loaded} == {""}
            assert not re.search(r"<script|<style| style=| on\w+=", text)

    def test_the_style_sheet_is_served(self):
        style = Client().get("/static/pages.css")

        assert (style.status_code, style["Content-Type"]) == (200, 'text/css; charset="utf-8"')
        style.close()


class TestNames:
    def test_each_control_has_one(self, browser):
        note = make_note()
        for path in ("/", "/notes/new", f"/notes/{note}", f"/notes/{note}/edit"):
            text = browser.get(path).content.decode()
            labelled = set(re.findall('<label for="([^"]+)"', text))
            ids = re.findall(' id="([^"]+)"', text)

            assert len(ids) == len(set(ids))
            for tag, attributes in read(text).tags:
                if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
                    assert attributes["id"] in labelled, attributes
                for name in ("aria-describedby", "aria-labelledby"):
                    assert attributes.get(name, ids[0]) in ids
            assert not re.search(r"<button>\s*</button>|<a [^>]*>\s*</a>", text)

    def test_headings_come_in_order(self, browser):
        note = make_note(content="### Part\n\n#### Section")
        for path in (
            "/",
            "/?page=0",
            "/notes/new",
            f"/notes/{note}",
            f"/notes/{note}/delete",
            "/x",
        ):
            levels = [
                int(level) for level in re.findall("<h([1-6])", browser.get(path).content.decode())
            ]

            assert levels[0] == 1
            assert levels.count(1) == 1
            assert all(below <= above + 1 for above, below in itertools.pairwise(levels)), levels

    def test_the_page_has_a_language_and_a_way_past_its_head(self, browser):
        text = browser.get("/").content.decode()

        assert '<html lang="en">' in text
        assert text.index('href="#content"') < text.index("<header>")
        assert '<main id="content" tabindex="-1">' in text


class TestNotePage:
    def test_shows_the_note_rendered(self, browser):
        note = make_note(title="A title", content="# Part\n\nSome *words*")

        page = browser.get(f"/notes/{note}")

        assert "<h2>Part</h2>\n<p>Some <em>words</em></p>" in page.content.decode()
        assert f'href="/notes/{note}/edit"' in page.content.decode()

    def test_offers_nothing_to_change_in_the_note_of_another(self, browser):
        note = make_note(user_id="xyz")

        assert f"/notes/{note}/edit" not in browser.get(f"/notes/{note}").content.decode()

    def test_of_none_is_a_404(self, browser):
        page = browser.get(f"/notes/{uuid.UUID(int=0)}")

        assert page.status_code == 404
        assert "There is no note" in page.content.decode()

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_what_is_stored_stays_inert(self, browser, attack):
        stored = attack.replace("\x00", "")
        title = stored.replace("\n", " ").strip()[:200]
        note = make_note(title=title, content=stored)
        for path in (f"/notes/{note}", f"/notes/{note}/edit", f"/notes/{note}/delete", "/"):
            page = read(browser.get(path).content.decode())

            tags = {tag for tag, _ in page.tags}
            assert not tags & {
                "script",
                "img",
                "iframe",
                "style",
                "object",
                "embed",
                "base",
                "math",
            }
            for _, attributes in page.tags:
                assert not [name for name in attributes if name.startswith("on") or name == "style"]
                assert not re.match(
                    r"\s*(java|vb)script:|\s*data:text", attributes.get("href") or "", re.IGNORECASE
                )


class TestStrip:
    def test_tells_a_miss_then_a_hit_and_why(self, browser):
        note = make_note()

        miss, hit = browser.get(f"/notes/{note}"), browser.get(f"/notes/{note}")

        assert "Miss, read from the database Why: Redis had no copy." in strip_of(miss)
        assert re.search(r"PostgreSQL 1 [0-9.]+", strip_of(miss))
        assert "SELECT id, user_id" in strip_of(miss)
        assert miss["Cache-Status"] == "trilith; fwd=uri-miss; stored"
        assert strip_of(hit).split("Key")[0].endswith(
            "no database was asked. "
        ) or "first level" in strip_of(hit)
        assert re.search(r"PostgreSQL 0 0.00", strip_of(hit))
        assert hit["Cache-Status"].startswith("trilith; hit; ttl=")

    def test_tells_which_write_ended_a_copy(self, browser):
        note = make_note()
        browser.get(f"/notes/{note}")
        services.note_update(note_id=note, caller="abc", title="Changed")

        assert f"A write has ended the copy in Redis: the stamp of note:{note}" in strip_of(
            browser.get(f"/notes/{note}")
        )

    def test_shows_the_write_before_once(self, browser):
        note = make_note()
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        saved = browser.post(f"/notes/{note}/edit", {**form, "title": "T", "content": "C"})

        first, second = browser.get(saved["Location"]), browser.get(saved["Location"])

        assert "The write before it" in strip_of(first)
        assert f"POST /notes/{note}/edit" in strip_of(first)
        assert "UPDATE notes SET" in strip_of(first)
        assert "invalidate: UNLINK" in strip_of(first)
        assert "The write before it" not in strip_of(second)

    def test_explains_each_operation_of_the_protocol(self):
        names = set(re.findall(r'execute\(\s*"(\w+)"', inspect.getsource(protocol)))

        assert set(data_layer._COMMANDS) == names

    def test_a_cookie_that_was_altered_shows_nothing(self, browser):
        browser.cookies["trilith_write"] = "x:y:z"

        assert "The write before it" not in strip_of(browser.get("/"))

    def test_goes_past_the_cache_where_the_request_says_so(self, browser):
        note = make_note()
        browser.get(f"/notes/{note}")

        for page in (
            browser.get(f"/notes/{note}?cache=false"),
            browser.get(f"/notes/{note}", headers={"Cache-Control": "no-cache"}),
        ):
            assert page["Cache-Status"] == "trilith; fwd=bypass"
            assert "Bypass, read from the database" in strip_of(page)

    def test_tells_that_redis_is_away(self, browser, monkeypatch, closed_breaker):
        note = make_note()
        monkeypatch.setattr(cache_client.breaker, "is_open", True)

        page = browser.get(f"/notes/{note}")

        assert page.status_code == 200
        assert "Redis does not answer." in strip_of(page)

    def test_shows_no_value_of_a_statement(self, browser):
        note = make_note(title="secret words")
        form = fields_of(browser.get(f"/notes/{note}/edit"))

        saved = browser.post(f"/notes/{note}/edit", {**form, "title": "hidden", "content": "C"})

        assert "hidden" not in strip_of(browser.get(saved["Location"]))


class TestNewPage:
    def test_makes_a_note_of_the_user(self, browser):
        form = fields_of(browser.get("/notes/new"))

        response = browser.post("/notes/new", {**form, "title": " T ", "content": "a\r\nb"})

        note = Note.objects.get()
        assert (response.status_code, response["Location"]) == (303, f"/notes/{note.id}")
        assert (note.user_id, note.title, note.content) == ("abc", "T", "a\nb")

    def test_sent_twice_makes_one(self, browser):
        form = fields_of(browser.get("/notes/new"))

        first, second = (
            browser.post("/notes/new", {**form, "title": "T", "content": ""}) for _ in range(2)
        )

        assert Note.objects.count() == 1
        assert second.status_code == 302
        assert first["Location"] == second["Location"]

    def test_sent_again_with_another_text_shows_both_and_loses_neither(self, browser):
        """As from the form that a browser's Back button leads to."""
        form = fields_of(browser.get("/notes/new"))
        browser.post("/notes/new", {**form, "title": "T", "content": "first"})

        page = browser.post("/notes/new", {**form, "title": "T", "content": "second"})

        text = page.content.decode()
        assert page.status_code == 409
        assert Note.objects.get().content == "first"
        assert '<del><span class="unseen">Stored: </span>first</del>' in text
        assert ">\nsecond</textarea>" in text
        path = f"/notes/{Note.objects.get().id}/edit"
        assert f'action="{path}"' in text
        saved = browser.post(path, {**fields_of(page), "content": "second"})
        assert saved.status_code == 303
        assert Note.objects.get().content == "second"

    def test_with_the_id_of_a_note_of_another_user_keeps_what_was_typed(self, browser):
        note = make_note(user_id="xyz", title="Theirs", content="their text")
        form = fields_of(browser.get("/notes/new"))

        page = browser.post(
            "/notes/new", {**form, "id": str(note), "title": "T", "content": "typed"}
        )

        text = page.content.decode()
        assert page.status_code == 403
        assert ">\ntyped</textarea>" in text
        assert "their text" not in text
        again = browser.post("/notes/new", {**fields_of(page), "content": "typed"})
        assert again.status_code == 303
        assert Note.objects.get(user_id="abc").content == "typed"

    @pytest.mark.parametrize("name", ["title", "content"])
    def test_shows_no_nul_which_html_may_not_hold(self, browser, name):
        form = fields_of(browser.get("/notes/new"))

        page = browser.post("/notes/new", {**form, "title": "T", "content": "C", name: "a\0b"})

        assert page.status_code == 400
        assert "\0" not in page.content.decode()
        assert "a\ufffdb" in page.content.decode()

    @pytest.mark.parametrize(
        ("typed", "mistake"),
        [
            ({"title": " ", "content": "kept"}, "title-mistake"),
            ({"title": 201 * "x", "content": "kept"}, "title-mistake"),
            ({"title": "T", "content": "kept\x00"}, "content-mistake"),
            ({"title": "T", "content": "kept" + 100_000 * "x"}, "content-mistake"),
            ({"content": "kept"}, "title-mistake"),
        ],
    )
    def test_keeps_what_was_typed_where_it_is_invalid(self, browser, typed, mistake):
        form = fields_of(browser.get("/notes/new"))

        page = browser.post("/notes/new", {**form, "title": "", **typed})

        assert page.status_code == 400
        assert not Note.objects.exists()
        assert f'id="{mistake}"' in page.content.decode()
        assert ">\nkept" in page.content.decode()
        assert fields_of(page)["id"] == form["id"]

    @pytest.mark.parametrize("path", ["/notes/new", "/user", "/notes/{}/edit", "/notes/{}/delete"])
    def test_without_a_token_is_refused(self, path):
        note = make_note(title="Old", user_id="demo")
        fields = {"title": "T", "content": "", "etag": "*", "user_id": "abc"}

        page = Client(enforce_csrf_checks=True).post(path.format(note), fields)

        assert page.status_code == 403
        assert "pages.css" in page.content.decode()
        assert "Nothing was written" in page.content.decode()
        assert "trilith_user" not in page.cookies
        assert Note.objects.get().title == "Old"


class TestEditPage:
    def test_saves(self, browser):
        note = make_note(content="\nfirst line is empty")
        page = browser.get(f"/notes/{note}/edit")
        assert ">\n\nfirst line is empty</textarea>" in page.content.decode()

        response = browser.post(
            f"/notes/{note}/edit", {**fields_of(page), "title": "New", "content": "text"}
        )

        row = Note.objects.get()
        assert (response.status_code, response["Location"]) == (303, f"/notes/{note}")
        assert (row.title, row.content, row.version) == ("New", "text", 2)

    def test_shows_a_conflict_and_writes_nothing(self, browser):
        note = make_note(title="Old", content="one\ntwo")
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        services.note_update(note_id=note, caller="abc", title="Theirs", content="one\nthree")

        page = browser.post(
            f"/notes/{note}/edit", {**form, "title": "Mine", "content": "one\r\nmine"}
        )

        text = page.content.decode()
        assert page.status_code == 412
        assert Note.objects.get().title == "Theirs"
        assert "<bdi>Theirs</bdi>" in text
        assert '<del><span class="unseen">Stored: </span>three</del>' in text
        assert '<ins><span class="unseen">Yours: </span>mine</ins>' in text
        assert 'value="Mine"' in text
        assert ">\none\nmine</textarea>" in text

        again = browser.post(
            f"/notes/{note}/edit", {**fields_of(page), "title": "Mine", "content": "one\nmine"}
        )

        assert again.status_code == 303
        assert (Note.objects.get().title, Note.objects.get().version) == ("Mine", 3)

    def test_a_write_between_the_look_and_the_update_is_a_conflict(self, browser, monkeypatch):
        note = make_note(title="Old")
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        update = services.note_update

        def raced(**arguments):
            monkeypatch.setattr(services, "note_update", update)
            update(note_id=note, caller="abc", title="Theirs")
            return update(**arguments)

        monkeypatch.setattr(services, "note_update", raced)
        page = browser.post(f"/notes/{note}/edit", {**form, "title": "Mine", "content": "C"})

        assert page.status_code == 412
        assert Note.objects.get().title == "Theirs"

    @pytest.mark.parametrize("etag", ["", "*", "x", '"0"'])
    def test_no_etag_or_another_is_a_conflict(self, browser, etag):
        note = make_note(title="Old")

        page = browser.post(f"/notes/{note}/edit", {"title": "T", "content": "C", "etag": etag})

        assert page.status_code == 412
        assert Note.objects.get().title == "Old"

    def test_sent_twice_changes_once(self, browser):
        note = make_note()
        typed = {**fields_of(browser.get(f"/notes/{note}/edit")), "title": "T", "content": "C"}

        codes = [browser.post(f"/notes/{note}/edit", typed).status_code for _ in range(2)]

        assert codes == [303, 302]
        assert Note.objects.get().version == 2

    def test_a_new_title_leaves_the_text_as_it_is(self, browser):
        note = make_note(title="Old", content="a\r\nb\rc\n")
        form = fields_of(browser.get(f"/notes/{note}/edit"))

        browser.post(f"/notes/{note}/edit", {**form, "title": "New", "content": "a\r\nb\r\nc\r\n"})

        assert (Note.objects.get().title, Note.objects.get().content) == ("New", "a\r\nb\rc\n")

    def test_keeps_the_text_where_the_note_is_gone(self, browser):
        note = make_note()
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        services.note_delete(note_id=note, caller="abc")

        page = browser.post(f"/notes/{note}/edit", {**form, "title": "T", "content": "typed"})

        assert page.status_code == 404
        assert ">\ntyped</textarea>" in page.content.decode()
        assert 'action="/notes/new"' in page.content.decode()

    def test_of_another_user_is_a_403(self, browser):
        note = make_note(user_id="xyz")

        assert browser.get(f"/notes/{note}/edit").status_code == 403
        page = browser.post(f"/notes/{note}/edit", {"title": "T", "content": "typed", "etag": "x"})
        assert page.status_code == 403
        assert ">\ntyped</textarea>" in page.content.decode()

    def test_keeps_the_text_where_it_is_invalid(self, browser):
        note = make_note()
        form = fields_of(browser.get(f"/notes/{note}/edit"))

        page = browser.post(f"/notes/{note}/edit", {**form, "title": "", "content": "typed"})

        assert page.status_code == 400
        assert ">\ntyped</textarea>" in page.content.decode()

    def test_shows_no_differences_of_very_long_texts(self, browser):
        note = make_note(content="a\n" * 600)
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        services.note_update(note_id=note, caller="abc", content="b\n" * 600)

        page = browser.post(f"/notes/{note}/edit", {**form, "title": "T", "content": "c\n" * 600})

        assert page.status_code == 412
        assert 'aria-label="Stored text"' in page.content.decode()


class TestDeletePage:
    def test_asks_then_deletes(self, browser):
        note = make_note(title="Doomed")
        page = browser.get(f"/notes/{note}/delete")
        assert "Doomed" in page.content.decode()

        response = browser.post(f"/notes/{note}/delete", fields_of(page))

        assert (response.status_code, response["Location"]) == (303, "/")
        assert not Note.objects.exists()
        assert "DELETE FROM notes" in strip_of(browser.get("/"))

    def test_deletes_no_note_that_has_changed(self, browser):
        note = make_note()
        form = fields_of(browser.get(f"/notes/{note}/delete"))
        services.note_update(note_id=note, caller="abc", title="Changed")

        page = browser.post(f"/notes/{note}/delete", form)

        assert page.status_code == 412
        assert "The note has changed" in page.content.decode()
        assert Note.objects.exists()

    def test_nor_that_of_another_user(self, browser):
        note = make_note(user_id="xyz")

        assert browser.get(f"/notes/{note}/delete").status_code == 403
        assert browser.post(f"/notes/{note}/delete", {"etag": "*"}).status_code == 403
        assert Note.objects.exists()


class TestUser:
    def test_is_demo_until_one_is_chosen(self):
        browser = Client()

        assert 'value="demo"' in browser.get("/").content.decode()
        choose(browser, "ann@example.org")
        assert 'value="ann@example.org"' in browser.get("/").content.decode()

    def test_is_kept_in_a_signed_cookie_that_scripts_cannot_read(self, browser, settings):
        cookie = browser.cookies["trilith_user"]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")

        browser.cookies["trilith_user"] = cookie.value.replace("abc", "xyz")

        assert 'value="demo"' in browser.get("/").content.decode()

    @pytest.mark.parametrize("user_id", ["", "a b", "recent", "<script>", 129 * "x"])
    def test_that_cannot_be_one_is_refused(self, user_id):
        browser = Client()

        page = choose(browser, user_id)

        assert page.status_code == 400
        assert "trilith_user" not in browser.cookies

    @pytest.mark.parametrize(
        ("page", "target"),
        [
            ("/notes/new", "/notes/new"),
            ("", "/"),
            ("https://evil.example/", "/"),
            ("//evil.example/", "/"),
            ("javascript:alert(1)", "/"),
        ],
    )
    def test_choice_leads_back_to_a_page_of_this_site(self, browser, page, target):
        assert choose(browser, "abc", page=page)["Location"] == target

    def test_is_the_header_where_a_proxy_sets_it(self, browser):
        page = browser.get("/", headers={"X-User-Id": "from-proxy"}).content.decode()

        assert "You are <strong>from-proxy</strong>" in page
        assert 'name="user_id"' not in page

    def test_is_not_chosen_where_a_proxy_alone_says_it(self, browser, settings):
        settings.BROWSER_USER_CHOICE = False
        note = make_note(user_id="abc")

        page = browser.get("/")

        assert "You are <strong>demo</strong>" in page.content.decode()
        assert 'name="user_id"' not in page.content.decode()
        assert browser.get(f"/notes/{note}/edit").status_code == 403
        assert choose(Client(), "abc").status_code == 403

    def test_cookies_are_for_tls_alone_where_the_site_is(self, settings):
        settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
        browser = Client()
        browser.get("/")
        choose(browser, "abc")
        form = fields_of(browser.get("/notes/new"))
        browser.post("/notes/new", {**form, "title": "T", "content": ""})

        assert set(browser.cookies) == {"csrftoken", "trilith_user", "trilith_write"}
        for cookie in browser.cookies.values():
            assert (cookie["secure"], cookie["httponly"]) == (True, True), cookie
            assert cookie["samesite"] == "Lax"

    def test_a_malformed_header_is_a_400(self, browser):
        assert browser.get("/", headers={"X-User-Id": "a b"}).status_code == 400

    def test_the_api_knows_no_cookie(self, browser):
        note = make_note(user_id="abc")

        answer = browser.delete(f"/api/v1/notes/{note}")

        assert answer.status_code == 403


class TestWithoutPostgres:
    @pytest.fixture
    def restored(self, stack):
        yield stack
        stack.up()
        connection.close()
        assert wait_until(lambda: not outages.breaker.is_open, 30)

    def test_a_page_names_the_store_and_loses_no_text(self, browser, restored):
        note = make_note()
        form = fields_of(browser.get(f"/notes/{note}/edit"))
        browser.get("/")
        restored.kill("postgres")

        pages = [
            browser.get("/?q=unread"),
            browser.post(f"/notes/{note}/edit", {**form, "title": "T", "content": "typed"}),
            browser.post("/notes/new", {"title": "T", "content": "typed"}),
            browser.post(f"/notes/{note}/delete", form),
        ]

        for page in pages:
            assert page.status_code == 503
            assert int(page["Retry-After"]) >= 1
            assert 'data-store="postgres"' in page.content.decode()
            assert '<a href="/health">' in page.content.decode()
        for page in pages[1:3]:
            assert ">\ntyped</textarea>" in page.content.decode()
        cached = browser.get(f"/notes/{note}")
        assert cached.status_code == 200
        assert "Hit" in strip_of(cached)
        assert wait_until(
            lambda: "PostgreSQL does not answer" in strip_of(browser.get(f"/notes/{note}")), 60
        )
        assert browser.get("/notes/new").status_code == 200
