"""Who sees which page, where callers are checked and where data is for its own user alone."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from notes.models import Note
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "only abc may read this"


@pytest.fixture(params=["stub", "session"])
def owned(request, settings) -> str:
    """The id of a note of abc, which only abc and staff may read; callers are checked, or not."""
    settings.AUTHENTICATION, settings.READS = request.param, "owner"
    return str(make_note(title=SECRET, content=SECRET))


@pytest.fixture
def session(settings) -> None:
    settings.AUTHENTICATION = "session"


def browser_of(settings, user_id: str, **flags: bool) -> Client:
    browser = Client()
    if settings.AUTHENTICATION == "session":
        account, _ = get_user_model().objects.get_or_create(username=user_id, defaults=flags)
        browser.force_login(account)
    else:
        browser.post("/user", {"user_id": user_id})
    return browser


class TestReaders:
    def test_the_owner_reads_the_list_and_the_note(self, owned, settings):
        browser = browser_of(settings, "abc")

        for path in ("/", f"/notes/{owned}", f"/notes/{owned}/edit"):
            assert SECRET in browser.get(path).content.decode(), path

    @pytest.mark.parametrize(
        "path", ["/?userId=abc", "/notes/{}", "/notes/{}/edit", "/notes/{}/delete"]
    )
    def test_another_user_is_refused_from_each_level_of_the_cache(self, owned, settings, path):
        browser_of(settings, "abc").get(f"/notes/{owned}")
        browser = browser_of(settings, "def")

        for _ in range(2):
            reply = browser.get(path.format(owned))
            assert reply.status_code == 403
            assert SECRET not in reply.content.decode()

    def test_the_list_of_another_user_is_its_own(self, owned, settings):
        make_note(user_id="def", title="of def")

        page = browser_of(settings, "def").get("/").content.decode()

        assert "of def" in page
        assert SECRET not in page

    def test_staff_read_all_of_it(self, owned, settings):
        if settings.AUTHENTICATION == "stub":
            settings.BROWSER_USER_CHOICE = False  # the cookie is nobody's but a user's
        account = get_user_model().objects.create(username="boss", is_staff=True)
        browser = Client()
        browser.force_login(account)

        assert SECRET in browser.get("/").content.decode()
        assert SECRET in browser.get(f"/notes/{owned}").content.decode()


class TestSession:
    def test_nobody_reads_what_is_open_and_writes_nothing(self, session):
        note_id = make_note(title="open to all")

        assert "open to all" in Client().get(f"/notes/{note_id}").content.decode()
        reply = Client().post("/notes/new", {"title": "by nobody"})
        assert reply.status_code == 401
        assert reply["WWW-Authenticate"] == 'Bearer realm="trilith"'
        assert "Sign in at /login" in reply.content.decode()
        assert not Note.objects.filter(title="by nobody").exists()

    @pytest.mark.parametrize("path", ["/notes/new", "/notes/{}/edit"])
    def test_a_session_that_ended_takes_no_text_with_it(self, session, path):
        new_id = "3f2a8f0e-5d0a-4b53-9a5e-0d7d0f8f4a11"
        path = path.format(make_note())
        typed = {"title": "A draft", "content": "typed for an hour", "etag": '"1"', "id": new_id}

        reply = Client().post(path, typed)

        form = reply.content.decode()
        assert reply.status_code == 401
        assert "Sign in at /login" in form
        assert "typed for an hour" in form
        assert "A draft" in form
        assert (new_id in form) == (path == "/notes/new")  # so that it is still written once
        assert f'action="{path}"' in form

    def test_a_note_is_that_of_the_account(self, session, settings):
        browser = browser_of(settings, "ghi")

        assert browser.post("/notes/new", {"title": "by ghi", "content": ""}).status_code == 303
        assert Note.objects.get(title="by ghi").user_id == "ghi"

    def test_a_form_has_the_token_that_it_needs(self, session, settings):
        browser = browser_of(settings, "ghi")
        browser.handler.enforce_csrf_checks = True
        page = browser.get("/notes/new").content.decode()
        token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"title": "with token", "content": ""}

        assert browser.post("/notes/new", form).status_code == 403
        assert browser.post("/notes/new", form | {"csrfmiddlewaretoken": token}).status_code == 303

    def test_neither_the_header_nor_the_choice_says_who_calls(self, session):
        browser = Client(headers={"x-user-id": "eve"})

        assert browser.post("/user", {"user_id": "eve"}).status_code == 401
        assert browser.post("/notes/new", {"title": "by eve"}).status_code == 401


def token_of(page) -> str:
    return (
        page.content.decode().partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    )


@pytest.fixture
def account() -> dict[str, str]:
    """Name and password of an account that is not staff's."""
    named = {"username": "ghi", "password": "correct horse battery staple"}
    get_user_model().objects.create_user(**named)
    return named


class TestSignIn:
    def test_gives_an_account_that_is_not_staff_its_own_pages(self, session, settings, account):
        settings.READS = "owner"
        make_note(user_id="ghi", title="of ghi")
        make_note(title=SECRET)
        browser = Client(enforce_csrf_checks=True)
        refused = browser.get("/?sort=title:ASC")
        assert refused.status_code == 401
        path = "/login?next=/%3Fsort%3Dtitle%3AASC"
        assert f'href="{path}"' in refused.content.decode()

        form = account | {"csrfmiddlewaretoken": token_of(browser.get(path))}
        reply = browser.post(path, form)

        assert (reply.status_code, reply["Location"]) == (302, "/?sort=title:ASC")
        page = browser.get("/")
        assert "of ghi" in page.content.decode()
        assert SECRET not in page.content.decode()
        assert "You are <strong>ghi</strong>" in page.content.decode()

        left = browser.post("/logout", {"csrfmiddlewaretoken": token_of(page)})

        assert (left.status_code, left["Location"]) == (302, "/")
        assert browser.get("/").status_code == 401

    @pytest.mark.parametrize("changed", [{"password": "wrong"}, {"username": "a\0b"}, {"next": ""}])
    def test_keeps_its_policy_and_says_what_is_wrong(self, session, account, changed):
        reply = Client().post("/login", account | changed)

        if "next" in changed:
            assert (reply.status_code, reply["Location"]) == (302, "/")
        else:
            assert reply.status_code == 200
            assert 'class="failure" role="alert"' in reply.content.decode() or (
                'class="mistake"' in reply.content.decode()
            )
            assert "sessionid" not in reply.cookies
        assert "default-src 'none'" in reply["Content-Security-Policy"]

    @pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "javascript:x"])
    def test_leads_to_no_other_site(self, session, account, target):
        assert Client().post("/login", account | {"next": target})["Location"] == "/"

    @pytest.mark.parametrize("path", ["/login", "/logout"])
    def test_without_the_token_does_nothing(self, session, account, path):
        browser = Client(enforce_csrf_checks=True)

        assert browser.post(path, account).status_code == 403
        assert "sessionid" not in browser.cookies

    @pytest.mark.parametrize("mode", ["stub", "jwt"])
    def test_is_nowhere_where_sessions_do_not_say_who_calls(self, settings, account, mode):
        settings.AUTHENTICATION = mode

        for reply in (Client().get("/login"), Client().post("/login", account)):
            assert reply.status_code == 404
            assert "sessionid" not in reply.cookies
        assert Client().post("/logout").status_code == 404
