"""What the endpoints for operators return, for the OpenAPI schema: each has at least these properties."""

from rest_framework import serializers

from cachelayer.namespace import declared


class Reads(serializers.Serializer):
    """Reads of the cache."""

    hits = serializers.IntegerField(min_value=0)
    misses = serializers.IntegerField(min_value=0)
    hit_rate = serializers.FloatField(min_value=0, max_value=1, allow_null=True)


class NamespaceMetrics(Reads):
    """Reads of one namespace of the cache."""


class CacheMetrics(Reads):
    """Reads of the cache, and what it holds."""

    memory_usage = serializers.IntegerField(min_value=0, allow_null=True)
    memory_limit = serializers.IntegerField(min_value=0, allow_null=True)
    namespaces = serializers.DictField(child=NamespaceMetrics())


class Latency(serializers.Serializer):
    """Percentiles in milliseconds."""

    p50 = serializers.FloatField(min_value=0, required=False)
    p95 = serializers.FloatField(min_value=0, required=False)
    p99 = serializers.FloatField(min_value=0, required=False)


class StoreMetrics(serializers.Serializer):
    """The pool, the latencies and the errors of one database."""

    active_connections = serializers.IntegerField(min_value=0)
    idle_connections = serializers.IntegerField(min_value=0)
    waiting_requests = serializers.IntegerField(min_value=0)
    latency_ms = Latency(allow_null=True)
    # Declared fields are kept apart from Serializer.errors, whose name it has.
    errors = serializers.DictField(child=serializers.IntegerField(min_value=0))  # type: ignore[assignment]


class DatabaseMetrics(serializers.Serializer):
    """Both databases."""

    postgres = StoreMetrics()
    mongodb = StoreMetrics()


class CacheCleared(serializers.Serializer):
    """The namespaces that were cleared."""

    cleared = serializers.ListField(
        child=serializers.ChoiceField([namespace.name for namespace in declared()])
    )


class TagOfKey(serializers.Serializer):
    """A tag of a key: whether its stamp is there, and when it was invalidated last."""

    tag = serializers.CharField()
    valid = serializers.BooleanField()
    invalidated_at = serializers.DateTimeField(allow_null=True)


class LastInvalidation(serializers.Serializer):
    """The newest invalidation of the tags of a key."""

    tag = serializers.CharField()
    at = serializers.DateTimeField()


class LastMiss(serializers.Serializer):
    """The last miss of a key, and why it was one."""

    reason = serializers.CharField()
    why = serializers.CharField()
    at = serializers.DateTimeField()


class FirstLevel(serializers.Serializer):
    """The copies of one process: why there are none at present, and whether it has one of this key."""

    off = serializers.CharField(allow_null=True)
    copied = serializers.BooleanField()


class CacheExplanation(serializers.Serializer):
    """One key of the cache; null is not known."""

    key = serializers.CharField()
    namespace = serializers.CharField(allow_null=True)
    cached = serializers.BooleanField()
    reason = serializers.CharField(allow_null=True)
    says_absent = serializers.BooleanField(allow_null=True)
    age = serializers.FloatField(allow_null=True)
    ttl = serializers.FloatField(allow_null=True)
    size = serializers.IntegerField(allow_null=True)
    load_ms = serializers.FloatField(allow_null=True)
    tags = TagOfKey(many=True, allow_null=True)
    last_invalidation = LastInvalidation(allow_null=True)
    last_miss = LastMiss(allow_null=True)
    first_level = FirstLevel(allow_null=True)
