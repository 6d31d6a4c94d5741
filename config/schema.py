"""OpenAPI: how errors and the caller are documented, once for all endpoints."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "request_id": {"type": "string"},
        "store": {"type": "string", "enum": ["postgres", "mongodb"]},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message", "code"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}


class UserIdScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """X-User-Id in the schema, as an API key in a header."""

    target_class = "config.authentication.UserIdAuthentication"
    name = "userId"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-User-Id",
            "description": "Who is calling; demo where it is left out.",
        }


class UserOrStaffScheme(UserIdScheme):  # type: ignore[no-untyped-call]
    """X-User-Id where staff may write as well."""

    target_class = "config.authentication.UserOrStaffAuthentication"
    name = "userIdOrStaff"


class StaffScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The bearer token of staff in the schema; a session of the admin does as well."""

    target_class = "config.authentication.StaffAuthentication"
    name = "staff"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN."}


def add_problem_responses(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Document on every operation that any other status is a problem."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
    reference = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"].setdefault(
                "default", {"description": "A problem.", "content": reference}
            )
    return result
