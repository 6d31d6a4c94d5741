"""
A profile is the same, byte for byte, from either store.

PROVE_EXAMPLES sets how many pairs of values are drawn beside those listed (make prove: 1 000).
"""

import json
import os
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from profiles import services
from profiles.documents import UserProfile
from profiles.limits import PREFERENCES_BYTES_MAX
from profiles.models import ProfileRow

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
KEYS = TEXTS.filter(lambda key: key and not key.startswith("$") and "." not in key)
# Numbers as text: the same number may be spelled in many ways.
NUMBERS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
VALUES = st.recursive(
    st.sampled_from(["true", "false", "null"]) | NUMBERS | TEXTS.map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda values: f"[{','.join(values)}]")
        | st.dictionaries(KEYS, inner, max_size=4).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in pairs.items()) + "}"
        )
    ),
    max_leaves=8,
)
EXAMPLES = int(os.environ.get("PROVE_EXAMPLES", "15"))
CLOSE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]


def answers(send) -> list[tuple[bytes, str]]:
    responses = [send("GET", f"/{store}/abc") for store in ("mongo", "postgres")]
    assert [response.status_code for response in responses] == [200, 200]
    return [(response.content, response["ETag"]) for response in responses]


class TestSameProfile:
    @settings(max_examples=EXAMPLES, suppress_health_check=CLOSE)
    @given(VALUES, VALUES)
    @example("2.5614222880669710e16", "-0.0")
    @example("1.0", "1")
    @example("1e400", "[-1e400]")
    @example("9223372036854775807", "-9223372036854775808")
    @example("9.223372036854775807e18", "-9.3e18")
    @example("1e16", "9007199254740993")
    @example("1e22", "1.7976931348623157e308")
    @example("5e-324", "0.1000000000000000055511151231257827")
    @example('{"b":1,"a":{"bb":1,"a":2,"\U0001f600":3,"\uffff":4}}', '"\u2028\uffff\x7f"')
    def test_whatever_json_the_preferences_hold(self, send, made, backend, value, other):
        if not ProfileRow.objects.filter(pk="abc").exists():
            made()
        body = '{"email":"abc@example.org","preferences":{"z":%s,"a":{"z":%s,"b":1}}}'

        replaced = send("PUT", "/abc", (body % (value, other)).encode())
        assert replaced.status_code in (200, 400), replaced.content
        if replaced.status_code == 200:
            served = (replaced.content, replaced["ETag"])
            assert answers(send) == [served, served]

        patched = send("PATCH", "/abc/preferences", f'{{"a":{{"z":{value}}}}}'.encode())
        assert patched.status_code in (200, 400), patched.content
        if patched.status_code == 200:
            served = (patched.content, patched["ETag"])
            assert answers(send) == [served, served]

    @pytest.mark.usefixtures("backend")
    @pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1e400"])
    def test_a_number_that_no_store_keeps_is_a_400_that_names_it(self, send, made, number):
        made()

        response = send("PATCH", "/abc/preferences", f'{{"a":{number}}}'.encode())

        assert response.status_code == 400
        assert response.json()["errors"]

    @pytest.mark.usefixtures("backend")
    def test_a_new_profile_answers_as_it_will_be_read(self, send):
        body = (
            b'{"user_id":"abc","email":"abc@example.org",'
            b'"preferences":{"z":-0.0,"theme":"dark","a":2.5614222880669710e16}}'
        )

        created = send("POST", "", body)

        assert created.json()["preferences"]["a"] == 25614222880669710
        assert answers(send) == [(created.content, created["ETag"])] * 2

    @pytest.mark.parametrize("size", [PREFERENCES_BYTES_MAX // 2, PREFERENCES_BYTES_MAX - 12])
    def test_what_fits_one_store_fits_the_other(self, send, made, settings, size):
        outcomes = []
        for serving in ("mongo", "postgres"):
            settings.PROFILE_BACKEND = serving
            if serving == "mongo":
                made()
            outcomes += [
                send("PATCH", "/abc/preferences", {"a": "x" * (size + more)}).status_code
                for more in range(-4, 5)
            ]

        assert outcomes[:9] == outcomes[9:]

    def test_what_only_bson_has_is_text_in_both(self, send, made):
        made()
        odd = {
            "id": ObjectId(),
            "at": datetime(2026, 1, 31, tzinfo=UTC),
            "nan": float("nan"),
            "zero": -0.0,
            "large": 2.5e16,
        }
        UserProfile._get_collection().update_one({}, {"$set": {"preferences.odd": odd}})

        services.mirror_update(user_id="abc")

        mongo, postgres = answers(send)
        assert mongo == postgres
        sent = json.loads(mongo[0])["preferences"]["odd"]
        assert (sent["id"], sent["nan"]) == (str(odd["id"]), None)

    def test_a_time_from_psql_is_told_to_the_millisecond(self, send, made):
        made()
        ProfileRow.objects.update(updated_at=datetime(2026, 1, 31, 1, 2, 3, 456789, tzinfo=UTC))

        updated_at = send("GET", "/postgres/abc").json()["metadata"]["updated_at"]

        assert updated_at == "2026-01-31T01:02:03.456000Z"
