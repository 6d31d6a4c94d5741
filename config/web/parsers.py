"""Strict JSON request bodies, and JSON replies whatever the Accept header says."""

import codecs
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import IO, Any, Final

import msgspec
from rest_framework.exceptions import ErrorDetail, ParseError, ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from config.web.problems import ERRORS_MAX


class NoBody(ParseError):
    """An empty body, or white space alone, is not JSON (RFC 8259, 2)."""

    default_detail = "The body is empty; JSON is expected."


class StrictJSONParser(BaseParser):
    """JSON by RFC 8259: UTF-8, no NaN, no lone surrogates, no repeated name, bounded nesting."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body = stream.read()  # whose length RequestBodyMiddleware has bounded
        if not body.strip():
            raise NoBody
        if body.startswith(codecs.BOM_UTF8):  # RFC 8259, 8.1
            raise ParseError("The body is not JSON: it begins with a byte order mark.")
        try:
            decoded = msgspec.json.decode(body)
            _members.decode(body.decode())
        except RecursionError as exc:
            raise ParseError("The body is not JSON: nested too deeply.") from exc
        except (msgspec.MsgspecError, ValueError) as exc:
            raise ParseError(f"The body is not JSON: {exc}.") from exc
        return decoded


class MergePatchParser(StrictJSONParser):
    """A JSON Merge Patch (RFC 7396), by its own media type."""

    media_type = "application/merge-patch+json"


def _refuse_repeated(members: list[tuple[str, Any]]) -> None:
    """
    Raise ValidationError where an object has two members of the same name.

    RFC 8259, section 4 leaves open which counts, and another reader may choose the other.
    """
    if len(dict(members)) < len(members):
        names = Counter(name for name, _ in members)
        repeated = [name for name, count in names.items() if count > 1]
        raise ValidationError(
            {
                name: [ErrorDetail("Given more than once.", "repeated")]
                for name in repeated[: ERRORS_MAX + 1]
            }
        )


_members: Final = json.JSONDecoder(object_pairs_hook=_refuse_repeated)


def body_of(request: Request) -> Any:
    """Return the parsed body. Raises ParseError where there is none, which DRF reads as an empty object."""
    if request.stream is None:
        raise NoBody
    return request.data


def media_types(parsers: Iterable[type[BaseParser]]) -> str:
    """Return the media types of the parsers, in the form of Accept and Accept-Patch."""
    return ", ".join(str(parser.media_type) for parser in parsers)


class ProblemRenderer(BaseRenderer):
    """Renders errors, which are all that DRF renders here: other replies are bytes already."""

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
    """Ignores Accept, since every reply has a single form (RFC 9110, 12.1 allows that)."""

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
