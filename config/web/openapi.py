"""OpenAPI: callers, headers, errors and parameters that the endpoints of all apps share."""

from http import HTTPStatus
from typing import Any, Final

from django.conf import settings
from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework.permissions import SAFE_METHODS

from config.web import idempotency
from config.web.authentication import UserIdAuthentication
from config.web.callers import DEFAULT_USER_ID
from config.web.rate_limits import is_limited
from config.web.request_ids import REQUEST_ID_PATTERN
from config.web.serializers import NO_NUL_PATTERN, TextField, trimmed_pattern
from config.web.user_ids import NEW_USER_ID_PATTERN, USER_ID_PATTERN

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
# In the form of django.core.signing: a payload, perhaps compressed, and a SHA-256. Empty: the start.
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
# Its replies: KEY_CONFLICTS.
IDEMPOTENCY = [
    OpenApiParameter(
        idempotency.HEADER,
        {"type": "string", "pattern": idempotency.KEY_PATTERN},
        OpenApiParameter.HEADER,
        description="Makes the request safe to repeat for 24 hours: with the same key and the same body, the"
        " reply is the same and nothing is written twice.",
        examples=[OpenApiExample("a UUID", value='"8e03978e-40d5-43dd-bc93-6894a57f9324"')],
    ),
    OpenApiParameter(
        idempotency.REPLAYED,
        {"type": "string", "const": "true"},
        OpenApiParameter.HEADER,
        description="This repeats an earlier reply to the same request.",
        response=[201],
    ),
]
KEY_CONFLICTS = {
    409: OpenApiResponse(
        description="The first request with this Idempotency-Key is still under way."
    ),
    422: OpenApiResponse(description="This Idempotency-Key came with another request."),
}
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
UNKNOWN = OpenApiResponse(description="Not found.")
OWNERS_ERRORS: Final = {403: NOT_YOURS, 404: UNKNOWN}  # of a write to what has an owner
USER_ID_IN_PATH: Final = OpenApiParameter(
    "user_id", {"type": "string", "pattern": USER_ID_PATTERN}, OpenApiParameter.PATH
)

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string"},
        "trace_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "store": {"type": "string", "enum": ["postgres", "mongodb"]},
        "scope": {"type": "string", "enum": ["read", "write", "search"]},
        "errors": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/ProblemError"},
        },
    },
}
_PROBLEM_ERROR = {
    "type": "object",
    "description": "What is wrong with a field of the request.",
    "required": ["field", "message", "code"],
    "properties": {
        "field": {"type": "string"},
        "message": {"type": "string"},
        "code": {"type": "string"},
    },
}


_USER_ID: Final = OpenApiParameter(
    "X-User-Id",
    {"type": "string", "pattern": NEW_USER_ID_PATTERN, "default": DEFAULT_USER_ID},
    OpenApiParameter.HEADER,
    description="Who is calling.",
)
# On every reply, errors included.
_REPLY_HEADERS: Final = {
    "X-Request-ID": {
        "required": True,
        "description": "The caller's own, where it is safe to repeat; else a new one.",
        "schema": {"type": "string", "pattern": REQUEST_ID_PATTERN},
    },
    "Server-Timing": {
        "required": True,
        "description": "Milliseconds spent in each store that was used, and in all (app).",
        "schema": {"type": "string"},
    },
}
_WHOLE_NUMBER: Final = {"type": "string", "pattern": "^[0-9]+$"}
_CHALLENGE: Final[dict[str, Any]] = (
    {"const": "Bearer"}
    if settings.AUTHENTICATION == "stub"
    else {"type": "string", "pattern": "^Bearer"}
)
_ERROR_HEADERS: Final[dict[int, dict[str, Any]]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": _CHALLENGE}},
    429: {"Retry-After": {"required": True, "description": "Seconds.", "schema": _WHOLE_NUMBER}},
    503: {"Retry-After": {"required": True, "description": "Seconds.", "schema": _WHOLE_NUMBER}},
}

_ITS_USER: Final = {"header.X-User-Id": "$response.body#/user_id"}
# From each create to the operations on its result, with the parameters that name it.
_LINKS: Final = {
    "notes_create": (
        ("notes_retrieve", "notes_replace", "notes_change", "notes_delete"),
        {"path.note_id": "$response.body#/id", **_ITS_USER},
    ),
    "profiles_create": (
        (
            "profiles_retrieve",
            "profiles_replace",
            "profiles_preferences_patch",
            "profiles_delete",
            "profiles_mongo_retrieve",
            "profiles_postgres_retrieve",
            "activity_feed",
            "activity_summary",
            "activity_daily",
        ),
        {"path.user_id": "$response.body#/user_id", **_ITS_USER},
    ),
}


class Schema(AutoSchema):
    """Adds to each operation what its view does not declare."""

    def get_override_parameters(self) -> list[Any]:
        """Add X-User-Id wherever it says who is calling, and the preconditions of all reads."""
        parameters: list[Any] = super().get_override_parameters()
        if self.method == "GET":
            parameters = [*parameters, *PRECONDITIONS]
        if settings.AUTHENTICATION == "stub" and any(
            isinstance(a, UserIdAuthentication) for a in self.view.get_authenticators()
        ):
            return [*parameters, _USER_ID]
        return parameters

    def _insert_field_validators(self, field: Any, schema: dict[str, Any]) -> None:
        """Leave text to the extension below: its bounds are those of the trimmed text."""
        if not isinstance(field, TextField):
            super()._insert_field_validators(field, schema)

    def _get_request_body(self, direction: str = "request") -> dict[str, Any] | None:
        """Mark every body as required: an empty one is not JSON."""
        body: dict[str, Any] | None = super()._get_request_body(direction)
        return body and {**body, "required": True}


class StaffScheme(OpenApiAuthenticationExtension):
    """The bearer token of staff in the schema; a session of the admin does as well."""

    target_class = "config.web.authentication.StaffAuthentication"
    name = "staff"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "ADMIN_TOKEN; a session of the admin with its CSRF token does as well.",
        }


_USER_SCHEMES: Final[dict[str, dict[str, Any]]] = {
    "stub": {},  # X-User-Id is not a credential but a parameter with a default: see Schema
    "jwt": {
        "user": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the identity provider.",
        }
    },
    "session": {
        "user": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "A session of the admin; writes need its CSRF token.",
        }
    },
}


class UserIdScheme(OpenApiAuthenticationExtension):
    """The user, as AUTHENTICATION has it; reads need none unless READS=owner, which lets staff read, too."""

    target_class = "config.web.authentication.UserIdAuthentication"
    staff_may_write = False

    @property
    def name(self) -> list[str]:  # type: ignore[override]  # drf-spectacular reads it, and no more
        return list(_USER_SCHEMES[settings.AUTHENTICATION])

    def get_security_requirement(self, auto_schema: Any) -> Any:
        is_read = auto_schema.method in SAFE_METHODS
        user: list[dict[str, Any]] = [{name: []} for name in _USER_SCHEMES[settings.AUTHENTICATION]]
        needs_none = is_read and settings.READS == "open"
        if not user and not needs_none:
            user = [{}]  # X-User-Id
        if settings.READS == "owner" if is_read else self.staff_may_write:
            user.append({StaffScheme.name: []})
        if needs_none and user:
            user.insert(0, {})
        return None if user in ([], [{}]) else user

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, Any]]:
        return list(_USER_SCHEMES[settings.AUTHENTICATION].values())


class UserOrStaffScheme(UserIdScheme):
    """Writes by the owner, or by staff with their token; the scheme of users is that of UserIdScheme."""

    target_class = "config.web.authentication.UserOrStaffAuthentication"
    name = []
    staff_may_write = True


class ListedOrStaffScheme(UserIdScheme):
    """Reads for whoever asks from a listed address; from elsewhere by staff."""

    target_class = "config.observability.access.ListedOrStaffAuthentication"
    name = []

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return [{}, {StaffScheme.name: []}]


class StrictBody(OpenApiSerializerExtension):
    """A body whose unknown fields are refused."""

    target_class = "config.web.serializers.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        bounds = {"minProperties": self.target.min_fields} if self.target.min_fields else {}
        return {**schema, **bounds, "additionalProperties": False}


class Text(OpenApiSerializerFieldExtension):
    """Text without NUL, whose length counts once its ends are trimmed."""

    target_class = "config.web.serializers.TextField"
    match_subclasses = True

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        field: TextField = self.target
        if field.trim_whitespace:
            return {"type": "string", "pattern": trimmed_pattern(field.max_length or 0)}
        return {"type": "string", "maxLength": field.max_length, "pattern": NO_NUL_PATTERN}


def complete_responses(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Add the errors that follow from an operation's input, the headers of all replies, and links."""
    result["components"]["schemas"] |= {"Problem": _PROBLEM, "ProblemError": _PROBLEM_ERROR}
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            _complete(operation, is_read=method == "get", is_limited=is_limited(path))
    return result


def _complete(operation: dict[str, Any], *, is_read: bool, is_limited: bool) -> None:
    responses = operation["responses"]
    if is_read:
        responses.setdefault("304", {"description": NOT_MODIFIED.description})
    for status in _general_errors(operation) | ({429} if is_limited else set()):
        responses.setdefault(str(status), {})
    for status, response in responses.items():
        if int(status) >= HTTPStatus.BAD_REQUEST:
            response["content"] = {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
            response.setdefault("description", HTTPStatus(int(status)).phrase)
        response["headers"] = (
            response.get("headers", {}) | _REPLY_HEADERS | _ERROR_HEADERS.get(int(status), {})
        )
    if operation["operationId"] in _LINKS:
        targets, parameters = _LINKS[operation["operationId"]]
        responses["201"]["links"] = {
            target: {"operationId": target, "parameters": parameters} for target in targets
        }
    operation["responses"] = dict(sorted(responses.items()))


def _general_errors(operation: dict[str, Any]) -> set[int]:
    """Return the statuses that follow from the parameters, the body and the security of an operation."""
    statuses = {400, 503}
    if operation.get("security"):
        statuses |= {403}
        if {} not in operation["security"] or settings.AUTHENTICATION != "stub":
            statuses |= {401}
    if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ())):
        statuses |= {412}
    if "requestBody" in operation:
        statuses |= {413, 415}
    return statuses
