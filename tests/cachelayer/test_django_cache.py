"""Django's own cache beside cachelayer: what it leaves in Redis, and what it does without Redis."""

import pytest
import redis
from django.core.cache import cache, caches
from django.template import Context, Template
from django.test import RequestFactory
from rest_framework.throttling import SimpleRateThrottle

from cachelayer import client, namespace, protocol
from notes import cache_keys
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = {"a": [1, 2.5, None, True], "ü": "é"}


@pytest.fixture(autouse=True)
def _empty(stack):
    cache.clear()
    yield
    stack.up()
    client.breaker.reset()
    cache.clear()


def stored(pattern: str) -> dict[bytes, bytes]:
    server = client.client()
    return {name: server.get(name) for name in server.scan_iter(pattern)}


class TestSharedRedisCache:
    def test_keeps_json(self):
        cache.set("value", VALUE, 60)

        assert cache.get("value") == VALUE
        [(name, value)] = stored("*-django:*").items()
        assert name == b"trilith-django:1:value"
        assert value.startswith(b"{")  # no pickle, which begins with \x80

    def test_says_so_where_a_value_is_no_json(self):
        with pytest.raises(TypeError, match="not JSON serializable"):
            cache.set("value", object())

    @pytest.mark.parametrize("prefix", ["trilith", "trilith-django", "x"])
    def test_has_keys_that_cachelayer_cannot_have(self, settings, prefix):
        """Whatever CACHE_PREFIX is, the character after it differs."""
        assert settings.CACHES["default"]["KEY_PREFIX"] == "trilith-django"
        settings.CACHELAYER = settings.CACHELAYER | {"PREFIX": prefix}
        theirs, own = namespace.root_of_names(), f"{prefix}-django:"

        assert not own.startswith(theirs)
        assert not theirs.startswith(own)

    @pytest.mark.parametrize("alias", ["default", "sessions"])
    def test_clear_leaves_what_is_not_its_own(self, api, settings, alias):
        note_id = make_note()
        api.get(f"/api/v1/notes/{note_id}")
        entries = stored(f"{settings.CACHELAYER['PREFIX']}:*")
        beside = caches[alias].client.get_client()
        beside.set("another-application", b"1")
        for number in range(25):  # more than SCAN brings at once
            caches[alias].set(f"key-{number}", number)

        caches[alias].clear()

        assert all(caches[alias].get(f"key-{number}") is None for number in range(25))
        assert beside.get("another-application") == b"1"
        beside.delete("another-application")
        assert entries
        assert stored(f"{settings.CACHELAYER['PREFIX']}:*").keys() == entries.keys()
        assert protocol.look(cache_keys.note(note_id)).fresh

    @pytest.mark.parametrize("alias", ["default", "sessions"])
    @pytest.mark.parametrize("fault", ["kill", "pause"])
    def test_is_empty_and_raises_nothing_without_redis(self, stack, alias, fault):
        getattr(stack, fault)("redis")
        shared = caches[alias]

        assert shared.get("value") is None
        assert shared.get("value", "default") == "default"
        assert shared.get_many(["value"]) == {}
        assert shared.get_or_set("value", lambda: 3) == 3
        assert not shared.set("value", 1)
        assert not shared.add("value", 1)
        assert not shared.touch("value", 5)
        assert not shared.delete("value")
        assert not shared.set_many({"value": 1})
        assert not shared.delete_many(["value"])
        assert not shared.has_key("value")
        assert not shared.incr("value")
        assert not shared.clear()

    def test_leaves_the_errors_of_cachelayer_alone(self, stack):
        stack.kill("redis")

        assert cache.get("value") is None
        with pytest.raises(redis.ConnectionError):
            client.client().get("value")
        with pytest.raises(client.CacheDown):
            client.execute("look", lambda server: server.get("value"))

    def test_shares_a_pool_of_which_every_connection_knows_its_server(self):
        pool = cache.client.get_client().connection_pool
        assert client.client().connection_pool is pool

        connections = [pool.get_connection() for _ in range(3)]

        client.ping()
        assert {connection.server for connection in connections} == {client.replied()}
        for connection in connections:
            pool.release(connection)


class Throttle(SimpleRateThrottle):
    rate = "2/min"
    scope = "test"

    def get_cache_key(self, request, view):
        return f"throttle-{request.META['REMOTE_ADDR']}"


class TestUsers:
    """Those whom Django's default cache is there for."""

    def allowed(self) -> list[bool]:
        return [Throttle().allow_request(RequestFactory().get("/"), None) for _ in range(3)]

    def test_a_throttle_counts_and_lets_everybody_pass_without_redis(self, stack):
        assert self.allowed() == [True, True, False]

        stack.kill("redis")

        assert self.allowed() == [True, True, True]

    def test_a_fragment_of_a_template_is_kept_as_it_is(self):
        template = Template("{% load cache %}{% cache 60 name %}<b>{{ x }}</b>{% endcache %}")

        first = template.render(Context({"x": "<1>"}))
        again = template.render(Context({"x": "<2>"}))

        assert first == again == "<b>&lt;1&gt;</b>"
