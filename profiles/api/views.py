"""The profiles endpoints: parse, one domain call, present."""

import re
from http import HTTPStatus
from typing import Any, Final

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cachelayer import http
from config.web.openapi import (
    CACHE,
    CACHE_STATUS,
    ETAG,
    LOCATION,
    NOT_MODIFIED,
    NOT_YOURS,
    OWNERS_ERRORS,
    PRECONDITIONS,
    UNKNOWN,
    USER_ID_IN_PATH,
)
from config.web.parsers import MergePatchParser, StrictJSONParser, body_of
from config.web.query import Parameters, parse_single
from config.web.serializers import validated_body
from config.web.user_ids import USER_ID_PATTERN
from config.web.views import FOR_OWNER_OR_STAFF, CachedView, View
from profiles import preferences, selectors, services
from profiles.api.serializers import (
    PreferencesPatch,
    ProfileCreate,
    ProfileOutput,
    ProfileReplace,
    rejection,
)
from profiles.preferences import PreferencesRejected
from profiles.stores import StoreName

_CONFLICT: Final = OpenApiResponse(
    description="Another profile has this user_id or email; errors names which."
)


class ProfileListView(View):
    """All profiles; there is no list of them for clients."""

    authentication_classes = FOR_OWNER_OR_STAFF

    @extend_schema(
        operation_id="profiles_create",
        parameters=[*PRECONDITIONS, ETAG, LOCATION],
        request=ProfileCreate,
        responses={201: ProfileOutput, 403: NOT_YOURS, 409: _CONFLICT},
    )
    def post(self, request: Request) -> HttpResponse:
        """Create the caller's profile; staff may create anyone's."""
        fields = validated_body(request, ProfileCreate)
        profile = services.profile_create(
            **fields,
            caller=_caller(request),
            preconditions=http.preconditions_of(request.META),
        )
        response = http.answer(profile, status=HTTPStatus.CREATED)
        response.headers["Location"] = request.build_absolute_uri(
            f"{request.path}/{fields['user_id']}"
        )
        return response


class ProfileView(CachedView):
    """One user's profile."""

    authentication_classes = FOR_OWNER_OR_STAFF
    readers = "its user"

    @extend_schema(
        operation_id="profiles_retrieve",
        parameters=[USER_ID_IN_PATH, CACHE, ETAG, CACHE_STATUS],
        responses={200: ProfileOutput, 304: NOT_MODIFIED, 404: UNKNOWN},
    )
    def get(self, request: Request, user_id: str) -> HttpResponse:
        """Return the profile, from the cache where its copy is valid."""
        parse_single(request)
        profile = self.read(request, selectors.profile_read(user_id=_parsed(user_id)))
        if profile is None:
            raise _not_found(user_id)
        return self.respond(request._request, profile)

    @extend_schema(
        operation_id="profiles_replace",
        parameters=[USER_ID_IN_PATH, *PRECONDITIONS, ETAG],
        request=ProfileReplace,
        responses={200: ProfileOutput, **OWNERS_ERRORS, 409: _CONFLICT},
    )
    def put(self, request: Request, user_id: str) -> HttpResponse:
        """Replace email and preferences of the caller's profile."""
        parsed_id = _parsed(user_id)
        fields = validated_body(request, ProfileReplace)
        profile = services.profile_replace(
            user_id=parsed_id,
            caller=_caller(request),
            preconditions=http.preconditions_of(request.META),
            **fields,
        )
        return http.answer(profile)

    @extend_schema(
        operation_id="profiles_delete",
        parameters=[USER_ID_IN_PATH, *PRECONDITIONS],
        responses={204: None, **OWNERS_ERRORS},
    )
    def delete(self, request: Request, user_id: str) -> HttpResponse:
        """Delete the caller's profile."""
        services.profile_delete(
            user_id=_parsed(user_id),
            caller=_caller(request),
            preconditions=http.preconditions_of(request.META),
        )
        return Response(status=HTTPStatus.NO_CONTENT)  # without a Content-Type


class PreferencesView(View):
    """A profile's preferences."""

    authentication_classes = FOR_OWNER_OR_STAFF
    parser_classes = [StrictJSONParser, MergePatchParser]

    @extend_schema(
        operation_id="profiles_preferences_patch",
        parameters=[USER_ID_IN_PATH, *PRECONDITIONS, ETAG],
        request=PreferencesPatch,
        responses={200: ProfileOutput, **OWNERS_ERRORS},
    )
    def patch(self, request: Request, user_id: str) -> HttpResponse:
        """Merge a JSON Merge Patch (RFC 7396) into the preferences: null takes a key away."""
        parsed_id = _parsed(user_id)
        patch: Any = body_of(request)
        if not isinstance(patch, dict):
            raise ValidationError({"body": [ErrorDetail("Must be an object.", "invalid")]})
        try:
            preferences.check_patch(patch)
            profile = services.preferences_patch(
                user_id=parsed_id,
                patch=patch,
                caller=_caller(request),
                preconditions=http.preconditions_of(request.META),
            )
        except PreferencesRejected as exc:
            raise rejection(exc) from exc
        return http.answer(profile)


class ProfileOfStoreView(View):
    """The profile as a single store has it, bypassing the cache, to compare both stores."""

    readers = "its user"
    store: StoreName = "mongo"  # set by the route

    @extend_schema(
        parameters=[USER_ID_IN_PATH, ETAG],
        responses={200: ProfileOutput, 304: NOT_MODIFIED, 404: UNKNOWN},
    )
    def get(self, request: Request, user_id: str) -> HttpResponse:
        """Return the profile as this store has it now."""
        Parameters(request.query_params, known=()).end()
        profile = selectors.profile_get_from(store=self.store, user_id=_parsed(user_id))
        if profile is None:
            raise _not_found(user_id)
        return http.answer(profile)


def _parsed(user_id: str) -> str:
    """Return the id of the path. Raises ProfileNotFound where it is malformed."""
    if not re.fullmatch(USER_ID_PATTERN, user_id):
        raise _not_found(user_id)
    return user_id


def _not_found(user_id: str) -> services.ProfileNotFound:
    return services.ProfileNotFound(f"There is no profile of {user_id}.")


def _caller(request: Request) -> str | None:
    """Return the user on whose behalf this is, None for staff, who may write any profile."""
    return None if request.user.is_staff else request.user.get_username()
