"""Every route: pages of notes, admin, API, schema, health."""

from django.contrib import admin
from django.urls import include, path

from config.admin import dashboard
from config.observability import health, views
from config.web import problems, schema_views
from config.web.sign_in import SignIn, SignOut

admin.site.site_header = admin.site.site_title = "Trilith"

# The first page is the site's own. No model here has a page on the site, and Django's view that leads
# there takes no malformed id.
_left_out = ("index", "view_on_site")
_admin_urls = [
    *dashboard.urls(),
    *(url for url in admin.site.get_urls() if getattr(url, "name", "") not in _left_out),
]

# Tried in this order: what is asked for most comes first.
urlpatterns = [
    path("api/v1/", include("notes.api.urls")),
    path("api/v1/", include("profiles.api.urls")),
    path("api/v1/", include("activity.api.urls")),
    path("", include("notes.web.urls")),
    path("login", SignIn.as_view(), name="sign-in"),
    path("logout", SignOut.as_view(), name="sign-out"),
    path("admin/", (_admin_urls, "admin", "admin")),
    path("api/v1/metrics/cache", views.CacheMetricsView.as_view(), name="metrics-cache"),
    path("api/v1/metrics/db", views.StoreMetricsView.as_view(), name="metrics-db"),
    path("api/v1/admin/cache/clear", views.CacheClearView.as_view(), name="cache-clear"),
    path("api/v1/admin/cache/explain", views.CacheExplainView.as_view(), name="cache-explain"),
    path("api/schema", schema_views.SchemaView.as_view(), name="schema"),
    path("api/docs", schema_views.DocsView.as_view(), name="docs"),
    path("metrics", views.PrometheusView.as_view(), name="metrics"),
    path("health", health.health, name="health"),
    path("health/live", health.live, name="live"),
    path("health/ready", health.ready, name="ready"),
]

handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
