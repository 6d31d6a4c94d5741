"""Who may read the figures: whoever asks from METRICS_NETWORKS, and staff from anywhere."""

from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from activity.middleware import client_address
from config.web import problems
from config.web.authentication import StaffAuthentication, UserIdAuthentication
from config.web.callers import identity_of_settings, operator


def is_listed(request: HttpRequest | Request) -> bool:
    """Return whether the client's address, behind TRUSTED_PROXIES, is in one of METRICS_NETWORKS."""
    try:
        address = ip_address(client_address(request.META) or "")
    except ValueError:  # a socket of the file system has none, and a proxy may send anything
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in settings.METRICS_NETWORKS)


class ListedOrStaffAuthentication(UserIdAuthentication):
    """Whoever asks where the address is listed, also nobody; from elsewhere staff alone."""

    def authenticate(self, request: Request) -> Any:
        """
        Return the caller, None without credentials.

        Raises PermissionDenied or Unauthorized for wrong ones, ValidationError, ProviderUnavailable.
        """
        if not is_listed(request):
            return StaffAuthentication().authenticate(request)
        try:
            return identity_of_settings().caller(request, for_staff=True), None
        except PermissionDenied:
            staff = operator(request)  # whose account may have a name that is no user id
            if staff is None or not staff.is_staff:
                raise
            return staff, None


class IsListedOrStaff(BasePermission):
    """Whoever ListedOrStaffAuthentication lets through; else a 401 without credentials, a 403 with others."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_listed(request) or bool(getattr(request.user, "is_staff", False))


def refusal(request: HttpRequest) -> HttpResponse | None:
    """
    Return the 401 or 403 for a caller who may not read the metrics, None for one who may.

    For views outside DRF; the rule is that of ListedOrStaffAuthentication and IsListedOrStaff.
    """
    if is_listed(request):
        return None
    try:
        caller = operator(Request(request))
    except PermissionDenied as exc:
        return problems.problem_response(request, HTTPStatus.FORBIDDEN, str(exc.detail))
    if caller is None:
        detail = "Authentication credentials were not provided."
        response = problems.problem_response(request, HTTPStatus.UNAUTHORIZED, detail)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    if not caller.is_staff:
        detail = "You do not have permission to perform this action."
        return problems.problem_response(request, HTTPStatus.FORBIDDEN, detail)
    return None
