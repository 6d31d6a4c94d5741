"""What the OpenAPI schema says of the endpoints of every app: headers, parameters, replies."""

from typing import Final

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="412 unless it names the current ETag."
)
IF_NONE_MATCH = OpenApiParameter(
    "If-None-Match",
    str,
    OpenApiParameter.HEADER,
    description="304 of a read, 412 of a write where it names the current ETag.",
)
PRECONDITIONS = [IF_MATCH, IF_NONE_MATCH]
CACHE = OpenApiParameter(
    "cache",
    bool,
    description="false: answer from the store, and refresh the cached copy. By default true.",
)
# As django.core.signing writes it: a payload that may be compressed, and a SHA-256. Empty: the start.
CURSOR_PATTERN: Final = r"^(\.?[A-Za-z0-9_-]+:[A-Za-z0-9_-]{43})?$"
ETAG = OpenApiParameter(
    "ETag",
    {"type": "string", "pattern": '^"[0-9a-f]{32}"$'},
    OpenApiParameter.HEADER,
    required=True,
    description="Names this representation (RFC 9110, 8.8.3).",
    response=[200, 201, 304],
)
CACHE_STATUS = OpenApiParameter(
    "Cache-Status",
    {"type": "string", "pattern": "^trilith; "},
    OpenApiParameter.HEADER,
    required=True,
    description="What the cache had to do with the reply (RFC 9211).",
    response=[200, 304],
)
LOCATION = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri"},
    OpenApiParameter.HEADER,
    required=True,
    response=[201],
)
LINK = OpenApiParameter(
    "Link",
    str,
    OpenApiParameter.HEADER,
    description="The next and the previous page (RFC 8288), where there are such.",
    response=[200, 304],
)
NOT_MODIFIED = OpenApiResponse(description="The copy that the client has is current.")
NOT_YOURS = OpenApiResponse(description="It belongs to another user.")
UNKNOWN = OpenApiResponse(description="There is no such thing.")
