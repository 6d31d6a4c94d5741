"""Django's own cache, settings.CACHES, in the Redis of the cache: for throttles, templates, sessions."""

from typing import Any

import redis
from django_redis.cache import RedisCache


class SharedRedisCache(RedisCache):
    """
    A django-redis cache that leaves what is not its own alone, and fails as quietly as it reads.

    Its keys begin with its KEY_PREFIX, which must be no other's.
    """

    def clear(self) -> Any:
        """Delete the keys of this cache and version alone: django-redis would FLUSHDB the database."""
        return self.delete_pattern("*")

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        """Set another time to live; return whether the key was there, and Redis."""
        try:
            return bool(super().touch(*args, **kwargs))
        except redis.RedisError:  # django-redis lets it through, whatever IGNORE_EXCEPTIONS says
            if self._ignore_exceptions:
                return False
            raise
