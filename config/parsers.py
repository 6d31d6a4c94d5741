"""JSON in and JSON out: strict about what comes, and deaf to what else a client would accept."""

from collections.abc import Iterable, Mapping
from typing import IO, Any

import msgspec
from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class BodyTooLarge(APIException):
    """The body is longer than REQUEST_BODY_MAX_BYTES."""

    status_code = 413
    default_code = "too_large"

    def __init__(self) -> None:
        super().__init__(f"The body is longer than {settings.REQUEST_BODY_MAX_BYTES} bytes.")


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it: UTF-8, no NaN, no lone surrogates, no bottomless nesting."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read(settings.REQUEST_BODY_MAX_BYTES + 1)
        if len(body) > settings.REQUEST_BODY_MAX_BYTES:
            raise BodyTooLarge
        try:
            return msgspec.json.decode(body)
        except RecursionError as exc:
            raise ParseError("The body is not JSON: nested too deeply.") from exc
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise ParseError(f"The body is not JSON: {exc}.") from exc


class ProblemRenderer(BaseRenderer):
    """Errors are all that DRF renders here; answers are bytes already."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else msgspec.json.encode(data, enc_hook=str)


class JSONOnly(BaseContentNegotiation):
    """There is one form of every answer, so Accept chooses nothing (RFC 9110, 12.1 allows that)."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        offered = (request.content_type or "").split(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == offered), None)

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)
