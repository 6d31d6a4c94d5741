"""
What the endpoints of all apps share: strict bodies, strict query strings, hits before DRF.

The one module of config that apps import, in their api packages alone. It knows no app.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, QueryDict
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from cachelayer import http
from cachelayer.answers import Bypass, Cached
from cachelayer.entries import Found
from cachelayer.http import Representation
from cachelayer.read import Accepts, Tried
from config.web.authentication import UserOrStaffAuthentication
from config.web.parsers import NoBody, media_types
from config.web.parsers import (
    StrictJSONParser as StrictJSONParser,  # for views with parsers of their own
)

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
FOR_OWNER_OR_STAFF = [UserOrStaffAuthentication]
NOT_MODIFIED = OpenApiResponse(description="The copy that the client has is current.")
NOT_YOURS = OpenApiResponse(description="It belongs to another user.")
UNKNOWN = OpenApiResponse(description="There is no such thing.")
# What str.strip takes away, spelled out: the \\s of ECMA 262, which JSON Schema uses, is another set.
_SPACE: Final = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NO_NUL_PATTERN: Final = r"^[^\u0000]*$"


def trimmed_pattern(max_characters: int) -> str:
    """Return the pattern of text that has 1 to max_characters once its ends are trimmed, and no NUL."""
    edge = rf"[^\u0000{_SPACE}]"
    inside = rf"[^\u0000]{{0,{max_characters - 2}}}"
    return rf"^[{_SPACE}]*{edge}({inside}{edge})?[{_SPACE}]*$"


class TextField(serializers.CharField):
    """A JSON string; a number or a boolean is an error, not text. NUL and lone surrogates too."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A body whose every field is known; others are an error that names them."""

    min_fields = 0

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            raise serializers.ValidationError(
                {name: [ErrorDetail("Unknown field.", "unknown")] for name in unknown}
            )
        if isinstance(data, dict) and len(data) < self.min_fields:
            message = f"Give at least {self.min_fields} of {', '.join(self.fields)}."
            raise serializers.ValidationError({"body": [ErrorDetail(message, "required")]})
        return super().to_internal_value(data)


class MergePatchParser(StrictJSONParser):
    """A JSON Merge Patch (RFC 7396), by its own media type."""

    media_type = "application/merge-patch+json"


class Parameters:
    """A query string read strictly: every mistake is kept, so that one answer names them all."""

    def __init__(self, given: QueryDict, *, known: Iterable[str]) -> None:
        self._given = given
        self._mistakes: dict[str, list[ErrorDetail]] = {}
        for name, values in given.lists():
            if name not in known:
                self.refuse(name, f"Unknown parameter; known are {', '.join(known)}.", "unknown")
            elif len(values) > 1:
                self.refuse(name, "Given more than once.", "repeated")
            elif "\0" in values[0]:
                self.refuse(name, "Null characters are not allowed.", "null_characters_not_allowed")

    def refuse(self, name: str, message: str, code: str = "invalid") -> None:
        """Keep a mistake."""
        self._mistakes.setdefault(name, []).append(ErrorDetail(message, code))

    @property
    def are_good(self) -> bool:
        """Return whether there is no mistake so far."""
        return not self._mistakes

    def end(self) -> None:
        """Raise ValidationError with every mistake, if there is one."""
        if self._mistakes:
            raise ValidationError(self._mistakes)

    def text(self, name: str) -> str | None:
        """Return the value as it is, None where it was not given."""
        value: str | None = self._given.get(name)
        return value

    def boolean(self, name: str) -> bool:
        """Return true, unless it says false."""
        value = self._given.get(name, "true")
        if value not in ("true", "false"):
            self.refuse(name, "Must be true or false.")
        return value != "false"

    def integer(self, name: str, *, default: int, most: int) -> int:
        """Return a whole number from 1 to most."""
        text = self._given.get(name)
        if text is None:
            return default
        if re.fullmatch("[0-9]{1,10}", text) and 1 <= int(text) <= most:
            return int(text)
        self.refuse(name, f"Must be a whole number from 1 to {most}.", "out_of_range")
        return default


def body_of(request: Request) -> Any:
    """Return what the body says. Raises ParseError where it is none, which DRF takes for an object."""
    if request.stream is None:
        raise NoBody
    return request.data


def parse_single(given: QueryDict) -> None:
    """Refuse whatever the read of a single resource does not know. Raises ValidationError."""
    if given:
        parameters = Parameters(given, known=("cache",))
        parameters.boolean("cache")
        parameters.end()


def bypass_of(request: Request) -> Bypass:
    """Return what the request says about asking past the cache."""
    return http.bypass_of(request.headers, cache_parameter=request.query_params.get("cache"))


class View(APIView):
    """
    An endpoint: 405 for a method that it has not, whoever calls; 400 for a query that a write has not.

    Reads parse their own query strings. query_of_writes are the parameters that its writes know.
    """

    query_of_writes: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if not hasattr(self, str(request.method).lower()):
            self.http_method_not_allowed(request)
        super().initial(request, *args, **kwargs)
        if request.method not in SAFE_METHODS:
            Parameters(request.query_params, known=self.query_of_writes).end()

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Describe the endpoint; where it has PATCH, the media types, too (RFC 5789, 3.1)."""
        response = super().options(request, *args, **kwargs)
        if hasattr(self, "patch"):
            response.headers["Accept-Patch"] = media_types(self.parser_classes)
        return response


class CachedView(View):
    """
    An endpoint whose GET is answered from the cache, where it can be, before DRF is set in motion.

    Whatever is out of the ordinary (a miss, an error, a wish to bypass) is left to the handler.
    On its answer, also on an error, stands what the cache had to do with it. A subclass says by
    try_cache where to look; left_to_handler are the errors of its own that doing so may raise.
    """

    left_to_handler: tuple[type[Exception], ...] = (APIException,)
    cached: Cached[Any] | None = None  # set by a handler that has read through the cache
    looked: Found[Representation] | None = None  # what the attempt has found, for the handler

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        if request.method == "GET" and "Cache-Control" not in request.headers:
            try:
                response = self._from_cache(request, **kwargs)
            except self.left_to_handler:
                response = None  # the handler will meet it again, and answer
            if response is not None:
                return response
        return super().dispatch(request, *args, **kwargs)

    def _from_cache(self, request: HttpRequest, **kwargs: str) -> HttpResponse | None:
        if_none_match = request.headers.get("If-None-Match")
        present = self.presenter(request)

        def accepts(stored: Representation) -> bool:
            return if_none_match is None or http.not_modified(if_none_match, present(stored).etag)

        for authenticator in self.get_authenticators():
            told: Any = authenticator.authenticate(request)  # type: ignore[arg-type]  # headers alone
            request.user = told[0]  # for what comes after the view, as DRF would leave it
        cached, self.looked = self.try_cache(
            request, accepts=accepts, head_only=if_none_match is not None, **kwargs
        )
        if cached is None or cached.value is None:
            return None
        response = self.respond(request, cached.value)
        response.headers["Cache-Status"] = http.cache_status(cached)
        return response

    def try_cache(
        self, request: HttpRequest, *, accepts: Accepts, head_only: bool, **kwargs: str
    ) -> Tried:
        """Look for a fresh copy of what is asked for. Raises what parsing it raises."""
        raise NotImplementedError

    def presenter(self, request: HttpRequest) -> Callable[[Representation], Representation]:
        """Return what makes of the stored what is sent."""
        return lambda stored: stored

    def respond(self, request: HttpRequest, stored: Representation) -> HttpResponse:
        """Return the answer."""
        return http.answer(self.presenter(request)(stored))

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        if self.cached is not None:
            final.headers["Cache-Status"] = http.cache_status(self.cached)
        return final
