"""Bodies that are validated by a shared serializer, with the errors of one of their own."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.test import RequestFactory
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from config.web import serializers
from config.web.parsers import StrictJSONParser
from config.web.serializers import validated_body
from notes.api.serializers import NoteChange, NoteCreate, NoteReplace
from profiles.api.serializers import ProfileCreate

BODIES = [
    *(None, [], "text", 1, {}, {"title": None}, {"title": 1}, {"title": ""}, {"title": " "}),
    *({"title": "x" * 201}, {"title": "a\0b"}, {"title": "a", "more": 1, "and": 2}),
    *({"content": "x"}, {"title": "a", "content": None}, {"title": [], "content": {}}),
    *(
        {"user_id": "mongo", "email": "no"},
        {"user_id": "a b", "email": "a@b.org", "preferences": 1},
    ),
]
FORMS = [NoteCreate, NoteReplace, NoteChange, ProfileCreate]


def request_with(body: object) -> Request:
    sent = RequestFactory().post("/", json.dumps(body), "application/json")
    return Request(sent, parsers=[StrictJSONParser()])


def errors_of(call) -> object:
    """What a client is told: each message with its code."""
    with pytest.raises(ValidationError) as caught:
        call()
    return caught.value.get_full_details()


class TestValidatedBody:
    @pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
    @pytest.mark.parametrize("body", BODIES, ids=json.dumps)
    def test_refuses_what_a_serializer_of_its_own_refuses_in_the_same_words(self, form, body):
        own = form(data=body)
        if own.is_valid():
            assert validated_body(request_with(body), form) == own.validated_data
        else:
            own = form(data=body)
            assert errors_of(lambda: validated_body(request_with(body), form)) == errors_of(
                lambda: own.is_valid(raise_exception=True)
            )

    def test_copies_no_fields_for_a_valid_body(self, monkeypatch):
        validated_body(request_with({"title": "a"}), NoteCreate)
        copies = []
        monkeypatch.setattr(NoteCreate, "get_fields", lambda self: copies.append(self))

        for number in range(3):
            validated_body(request_with({"title": str(number)}), NoteCreate)

        assert copies == []

    def test_keeps_bodies_apart_that_come_at_once(self):
        bodies = [{"title": str(number), "content": "x" * number} for number in range(200)]

        with ThreadPoolExecutor(8) as pool:
            validated = pool.map(
                lambda body: validated_body(request_with(body), NoteCreate), bodies
            )

        assert list(validated) == bodies

    def test_a_default_is_not_shared(self):
        body = {"user_id": "abc", "email": "abc@example.org"}
        first = validated_body(request_with(body), ProfileCreate)
        first["preferences"]["theme"] = "dark"

        assert validated_body(request_with(body), ProfileCreate)["preferences"] == {}


class TestTextField:
    def test_a_lone_surrogate_is_an_error_that_names_it(self):
        field = serializers.TextField()

        with pytest.raises(ValidationError, match="not allowed: U\\+D800"):
            field.run_validation("a\ud800")
