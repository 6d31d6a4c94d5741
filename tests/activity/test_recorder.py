"""The recorder of one kind of event: what stands in MongoDB's documents, from whichever thread."""

import threading
import time

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activity import services, spool

REQUEST_ID = "0123456789abcdef" * 2
text = st.text(st.characters(codec="utf-8"), max_size=40)


def documents() -> list[dict]:
    recorded = []
    for path in spool.segments(services.own_spool().folder):
        with spool.opened(path, adopt=False) as segment:
            recorded += [bson.decode(record.document) for record in segment.records()]
    return recorded


@given(
    of_what=st.tuples(
        text, text, text | st.none(), st.dictionaries(text.filter(str.isalpha), text)
    ),
    by_whom=st.tuples(text, st.ip_addresses().map(str) | text | st.none(), text, text),
)
def test_records_each_field_as_bson_would(of_what, by_whom):
    action, resource, resource_id, details = of_what
    user_id, address, user_agent, request_id = by_whom
    before = time.time()

    services.recorder(*of_what)(*by_whom)

    event = documents()[-1]
    assert before - 0.001 <= event["timestamp"].replace(tzinfo=bson.tz_util.utc).timestamp()
    assert event["_id"].generation_time.timestamp() == int(
        event["timestamp"].replace(tzinfo=bson.tz_util.utc).timestamp()
    )
    assert list(event.items())[1:-1] == [
        ("user_id", user_id),
        ("action", action),
        ("resource", resource),
        ("resource_id", resource_id),
        ("details", details),
        ("ip_address", None if address is None else services.shown_address(address)),
        ("user_agent", user_agent),
        ("request_id", request_id),
    ]


def test_may_be_kept_and_called_from_any_thread():
    record = services.recorder("note_viewed", "note", "an id", {"status": 200})

    def record_many(user_id: str) -> None:
        for _ in range(500):
            record(user_id, "127.0.0.1", "a browser", REQUEST_ID)

    threads = [threading.Thread(target=record_many, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    events = documents()
    assert len({event["_id"] for event in events}) == 2_000
    assert {event["user_id"] for event in events} == {"0", "1", "2", "3"}


def test_keeps_what_is_the_same_of_a_bounded_number_of_callers():
    record = services.recorder("note_viewed", "note", "an id", {"status": 200})

    for number in range(3_000):
        record("abc", "127.0.0.1", f"a browser, version {number}", REQUEST_ID)

    assert services._actor.cache_info().currsize <= 2_048


def test_what_is_cut_off_an_agent_is_not_kept_either():
    services._actor.cache_clear()
    record = services.recorder("note_viewed", "note", "an id", {})
    for number in range(10):
        record("abc", None, "x" * 512 + str(number), REQUEST_ID)

    assert services._actor.cache_info().currsize == 1


def test_an_agent_is_cut_at_512_characters():
    services.recorder("note_viewed", "note", "an id", {})("abc", None, "x" * 600, REQUEST_ID)

    assert documents()[-1]["user_agent"] == "x" * 512


def test_what_no_file_can_hold_is_an_error_and_leaves_no_trace():
    record = services.recorder("note_viewed", "note", "an id", {})

    with pytest.raises(UnicodeEncodeError):
        record("abc", None, "a browser", "\ud800")
    with pytest.raises(ValueError, match="1048576 at most"):
        record("abc", None, "a browser", "x" * 1_048_576)

    assert documents() == []
