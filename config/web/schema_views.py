"""/api/schema and /api/docs: the views of drf-spectacular, with the errors of every other endpoint."""

from typing import Any

from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView
from rest_framework.request import Request
from rest_framework.response import Response

from config.web.authentication import PublicAuthentication
from config.web.parsers import ProblemRenderer
from config.web.query import Parameters
from config.web.views import View


class _Documentation(View):
    """For anyone; takes no parameter; what is not the document itself is JSON, whatever renders that."""

    authentication_classes = (PublicAuthentication,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        Parameters(request.query_params, known=()).end()

    def finalize_response(
        self, request: Any, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.exception or request.method == "OPTIONS":
            response.accepted_renderer = ProblemRenderer()
            response.accepted_media_type = ProblemRenderer.media_type
        return response


class SchemaView(_Documentation, SpectacularJSONAPIView):
    """The schema as JSON."""


class DocsView(_Documentation, SpectacularSwaggerView):
    """Swagger UI, from this site's own files."""

    url_name = "schema"
