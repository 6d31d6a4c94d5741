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
        assert "Sign in at /admin/login/" in reply.content.decode()
        assert not Note.objects.filter(title="by nobody").exists()

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
