"""Links from each note and profile of the admin to its cached value beside its row."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)
NOTES = "/admin/notes/note/"
PROFILE = "/admin/profiles/profilerow/?user_id="


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(user)
    return browser


def links(page) -> list[str]:
    assert page.status_code == 200
    found = re.findall(r'href="(/admin/cachelayer/clearance/\?key=[^"]+)"', page.content.decode())
    return [unescape(link) for link in found]


class TestLinks:
    def test_lead_from_a_note_and_from_the_list_to_the_comparison(self, api):
        note_id = make_note(title="A title")
        api.get(f"/api/v1/notes/{note_id}")
        browser = staff("view_note", "view_clearance")

        of_list, of_note = (
            links(browser.get(NOTES)),
            links(browser.get(f"{NOTES}{note_id}/change/")),
        )

        assert of_list == of_note == [f"/admin/cachelayer/clearance/?key=notes%3A{note_id}#key"]
        page = browser.get(of_note[0])
        assert page.context["comparison"]["agree"] is True
        assert 'id="key"' in page.content.decode()

    def test_lead_from_a_profile_to_the_comparison(self, profile):
        Client(headers={"X-User-Id": profile}).get(f"/api/v1/profiles/{profile}")
        browser = staff("view_profilerow", "view_clearance")

        [link] = links(browser.get(f"{PROFILE}{profile}"))

        assert browser.get(link).context["comparison"]["agree"] is True

    def test_are_for_those_who_may_view_the_cache(self, profile):
        note_id = make_note()
        browser = staff("view_note", "view_profilerow")

        for page in (NOTES, f"{NOTES}{note_id}/change/", f"{PROFILE}{profile}"):
            assert links(browser.get(page)) == []

    def test_a_new_note_has_none(self):
        assert links(staff("add_note", "view_clearance").get(f"{NOTES}add/")) == []
