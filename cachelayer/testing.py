"""The test kit, for the tests of a project that uses the cache: by unittest, or by pytest."""

from typing import Any

from django.conf import settings
from django.test import override_settings


def override_config(**values: Any) -> override_settings:
    """Override keys of CACHELAYER for a block, a test or a class; the others stay as they are."""
    return override_settings(CACHELAYER=getattr(settings, "CACHELAYER", {}) | values)
