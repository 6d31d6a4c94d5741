"""All settings, in reading order; the environment is read here and nowhere else."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.environment import Environment
from config.observability import logs
from config.postgres.deadlines import DeadlineConnection
from config.postgres.url import behind_pooler, database_from_url, replica_from_url
from config.stack import dotenv_file, site
from config.stack.process import StackError
from config.store_urls import checked_mongodb_uri, checked_redis_url, redis_cache, with_own_pool

BASE_DIR = Path(__file__).resolve().parent.parent
try:
    dotenv_file.load(BASE_DIR / ".env")
except StackError as _exc:
    raise ImproperlyConfigured(f"{_exc}.") from _exc
env = Environment()


def _required(name: str, remedy: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set. {remedy}")
    return value


def _refuse_min_above_max(store: str, minimum: int, maximum: int) -> None:
    if minimum > maximum:
        raise ImproperlyConfigured(
            f"{store}_POOL_MIN={minimum}: must not exceed {store}_POOL_MAX={maximum}."
        )


# --- Posture -----------------------------------------------------------------------------------
DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = (
    env.str("SECRET_KEY", default="development-only, never in production")
    if DEBUG
    else _required(
        "SECRET_KEY",
        'Create one with: python -c "import secrets; print(secrets.token_urlsafe(50))"',
    )
)
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])  # former keys, still accepted
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost"])
HTTPS = env.flag("HTTPS", default=False)  # true where clients reach the site over TLS
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(health|metrics)(/|$)"]  # probes come from inside, over plain HTTP
SECURE_HSTS_SECONDS = env.whole("SECURE_HSTS_SECONDS", default=31_536_000) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = True  # forms carry the token themselves
CSRF_FAILURE_VIEW = "config.web.problems.csrf_failure"
X_FRAME_OPTIONS = "DENY"
BROWSER_USER_CHOICE = env.flag(
    "BROWSER_USER_CHOICE", default=True
)  # false behind an identity provider
ADMIN_TOKEN = env.str("ADMIN_TOKEN", default="")  # bearer token of staff endpoints; empty: none
# Whose clients may read /metrics and /api/v1/metrics/* without being staff.
METRICS_NETWORKS = env.networks("METRICS_NETWORKS", default="private")
REQUEST_BODY_MAX_BYTES = env.whole("REQUEST_BODY_MAX_BYTES", default=2_097_152, minimum=1)
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_MAX_BYTES  # bytes; the admin's forms

# --- Applications ------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config",
    "cachelayer",
    "notes",
    "profiles",
    "activity",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "health_check",
]
MIDDLEWARE = [
    "config.observability.middleware.RequestContextMiddleware",  # first: everything below logs with the request id
    *(["config.web.middleware.DebugMiddleware"] if DEBUG else []),
    "config.observability.probes.AnyHostMiddleware",
    "activity.middleware.ActivityMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.web.sessions.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "config.web.middleware.RequestBodyMiddleware",  # before CSRF, which reads a form
    "config.web.middleware.PreconditionsMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "config.web.sessions.AuthenticationMiddleware",
    "config.web.sessions.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False  # the API's paths have none, and a redirect would lose a body
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # served from the packages, so there is no collectstatic to forget
LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

# --- PostgreSQL --------------------------------------------------------------------------------
_STACK = 'For the local servers run: eval "$(python -m config.stack env)"'
# The site answers within a deadline; a command (migrate, seed) waits as long as its work takes.
SERVES_REQUESTS = env.flag("SERVES_REQUESTS", default=False)
# Shorter than the client's own deadline, or a long statement would look like a silent server.
POSTGRES_STATEMENT_TIMEOUT_MS = env.whole(
    "POSTGRES_STATEMENT_TIMEOUT_MS",
    default=2000,
    minimum=1,
    maximum=int(DeadlineConnection.net_timeout_seconds * 1000) - 1,
)
POSTGRES_POOL_MIN = env.whole("POSTGRES_POOL_MIN", default=5)  # connections in each process
POSTGRES_POOL_MAX = env.whole(
    "POSTGRES_POOL_MAX", default=20, minimum=1
)  # connections in each process
_refuse_min_above_max("POSTGRES", POSTGRES_POOL_MIN, POSTGRES_POOL_MAX)
POSTGRES_POOL_IDLE_SECONDS = env.whole("POSTGRES_POOL_IDLE_SECONDS", default=30, minimum=1)
POSTGRES_POOL_ACQUIRE_SECONDS = env.number(
    "POSTGRES_POOL_ACQUIRE_SECONDS", default=2.0, minimum=0.01
)
# Exists once the site is about to stop (config/stack/site.py): readiness fails then.
DRAINING_FILE = env.str("DRAINING_FILE", default="")
WEB_WORKERS = env.whole(
    "WEB_WORKERS", default=site.WEB_WORKERS, minimum=1, maximum=site.WEB_MAX
)  # processes of the site, each with its pools
WEB_THREADS = env.whole(
    "WEB_THREADS", default=site.WEB_THREADS, minimum=1, maximum=site.WEB_MAX
)  # that work at once in each process, on whatever the edge does not answer
WEB_CPU_PINNING = env.flag("WEB_CPU_PINNING", default=True)  # each process on a CPU of its own
SLOW_QUERY_MS = env.whole("SLOW_QUERY_MS", default=1000)  # slower statements are logged and stored
TRACE_SHARE = env.number(
    "TRACE_SHARE", default=0.0, maximum=1
)  # of all requests, 0 to 1, whose trace is stored
# Lets explain_report and index_advisor drop and make indexes, in transactions that are rolled back.
ALLOW_EXPLAIN_DDL = env.flag("ALLOW_EXPLAIN_DDL", default=False)
_database = database_from_url(_required("DATABASE_URL", _STACK))
_database["ENGINE"] = "config.postgres"
_database["OPTIONS"] |= {
    "connect_timeout": 2,  # seconds; the driver takes 1 as 2
    "application_name": "trilith",
}
_server_settings = (
    f"-c statement_timeout={POSTGRES_STATEMENT_TIMEOUT_MS}" if SERVES_REQUESTS else ""
)
DATABASES: dict[str, dict[str, Any]] = {"default": _database}
# PostgreSQL itself, where DATABASE_URL is a connection pooler in transaction mode (config/postgres/pooler.py).
_direct_url = env.str("DATABASE_DIRECT_URL", default="")
if _direct_url:
    DATABASES = behind_pooler(_database, _direct_url, serves_requests=SERVES_REQUESTS)
else:
    # At the first execution, by a cursor that prepares (DatabaseWrapper.prepared_cursor).
    _database["OPTIONS"]["prepare_threshold"] = 0
# A standby, for lists of the admin, exports and plans alone (config/postgres/replica.py).
_replica_url = env.str("DATABASE_REPLICA_URL", default="")
REPLICA_LAG_MAX_SECONDS = env.number("REPLICA_LAG_MAX_SECONDS", default=10.0, minimum=0.001)
if _replica_url:
    DATABASES["replica"] = replica_from_url(
        _replica_url,
        primary=DATABASES.get("direct", DATABASES["default"]),
        server_settings=_server_settings,
    )
if SERVES_REQUESTS:
    # A pooler refuses the options of a session; it sets the time limit itself (config/deploy/pgbouncer.ini).
    _session = DATABASES.get("direct", _database)["OPTIONS"]
    _session["options"] = f"{_session.get('options', '')} {_server_settings}".strip()
    _database["OPTIONS"]["pool"] = {
        "min_size": POSTGRES_POOL_MIN,
        "max_size": POSTGRES_POOL_MAX,
        "max_idle": POSTGRES_POOL_IDLE_SECONDS,
        "timeout": POSTGRES_POOL_ACQUIRE_SECONDS,
        "reconnect_timeout": 5,  # seconds after which the pool gives up an attempt
        "connection_class": DeadlineConnection,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- MongoDB -----------------------------------------------------------------------------------
MONGODB_URI = checked_mongodb_uri(_required("MONGODB_URI", _STACK))
MONGODB_TIMEOUT_MS = env.whole(
    "MONGODB_TIMEOUT_MS", default=2000, minimum=1
)  # of an operation, retries included
MONGODB_POOL_MIN = env.whole("MONGODB_POOL_MIN", default=5)  # connections in each process
MONGODB_POOL_MAX = env.whole(
    "MONGODB_POOL_MAX", default=20, minimum=1
)  # connections in each process
_refuse_min_above_max("MONGODB", MONGODB_POOL_MIN, MONGODB_POOL_MAX)
MONGODB_POOL_IDLE_SECONDS = env.whole("MONGODB_POOL_IDLE_SECONDS", default=30, minimum=1)
# Who serves /profiles.
PROFILE_BACKEND = env.choice("PROFILE_BACKEND", default="mongo", choices=("mongo", "postgres"))

# --- Activity ----------------------------------------------------------------------------------
ACTIVITY_RETENTION_DAYS = env.whole(
    "ACTIVITY_RETENTION_DAYS", default=90, minimum=1, maximum=24_855
)
ACTIVITY_FULL_IP = env.flag("ACTIVITY_FULL_IP", default=False)  # else /24, and /48 of IPv6
# Events on disk until MongoDB has them; shared by the processes of a machine.
ACTIVITY_SPOOL_DIR = env.str("ACTIVITY_SPOOL_DIR", default="") or str(BASE_DIR / ".spool")
ACTIVITY_SPOOL_MAX_BYTES = env.whole(
    "ACTIVITY_SPOOL_MAX_BYTES", default=268_435_456, minimum=1, maximum=2**53
)
TRUSTED_PROXIES = env.whole("TRUSTED_PROXIES", default=0)  # that append to X-Forwarded-For

# --- Redis and the cache (docs/caching-strategy.md) --------------------------------------------
REDIS_URL = checked_redis_url("REDIS_URL", _required("REDIS_URL", _STACK))
REDIS_TIMEOUT_MS = env.whole(
    "REDIS_TIMEOUT_MS", default=100, minimum=1
)  # to connect, and for each reply
# A pool apart, of the same database where nothing else is said: it may have no neighbour.
REDIS_SESSIONS_URL = checked_redis_url(
    "REDIS_SESSIONS_URL",
    with_own_pool(env.str("REDIS_SESSIONS_URL", default="") or REDIS_URL, max_connections=20),
)
_cache = redis_cache(REDIS_URL, timeout_seconds=REDIS_TIMEOUT_MS / 1000)
_sessions = redis_cache(REDIS_SESSIONS_URL, timeout_seconds=REDIS_TIMEOUT_MS / 1000)
CACHELAYER = {
    "NAME": "trilith",
    "PREFIX": env.str("CACHE_PREFIX", default="trilith"),  # first part of every key in Redis
    "VERSION": env.whole("CACHE_VERSION", default=1),  # raise it to leave every stored entry behind
    # Of a copy past its TTL, for outages of its store; and how long others wait for the loader.
    "GRACE_SECONDS": env.whole("CACHE_GRACE_SECONDS", default=3600),
    "LEASE_MS": env.whole("CACHE_LEASE_MS", default=3000, minimum=1),
    # Concurrent loads of each process while Redis does not answer, and how long others wait.
    "LOADS_MAX": env.whole("CACHE_LOADS_MAX", default=4, minimum=1),
    "LOADS_WAIT_MS": env.whole("CACHE_LOADS_WAIT_MS", default=500),
    # Copies in each process, 0 for none; and the file by which the processes of a host invalidate them.
    "FIRST_LEVEL_BYTES": env.whole("CACHE_FIRST_LEVEL_BYTES", default=67_108_864, maximum=2**53),
    "SLOTS_DIR": env.str("CACHE_SLOTS_DIR", default="") or str(BASE_DIR / ".slots"),
}
CACHES = {
    # For throttles, templates and the like. The cache of notes and profiles is cachelayer's, which
    # shares this one's connections, and none of its options: Redis's errors reach it.
    "default": {
        "BACKEND": "cachelayer.django_cache.SharedRedisCache",
        "LOCATION": _cache.location,
        "KEY_PREFIX": f"{CACHELAYER['PREFIX']}-django",  # cachelayer's keys go on with a colon
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",  # not the default, pickle
            "IGNORE_EXCEPTIONS": True,  # without Redis it is empty
            **_cache.options,
            "CONNECTION_POOL_CLASS": "cachelayer.client."
            + ("SentinelPool" if "SENTINELS" in _cache.options else "Pool"),
            "CONNECTION_POOL_KWARGS": {
                "max_connections": 100,
                "retry": Retry(NoBackoff(), 0),
                **_cache.pool,
            },
        },
    },
    "sessions": {
        "BACKEND": "cachelayer.django_cache.SharedRedisCache",
        "LOCATION": _sessions.location,
        "KEY_PREFIX": f"{CACHELAYER['PREFIX']}-sessions",
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",  # not the default, pickle
            "IGNORE_EXCEPTIONS": True,  # the database behind it has every session
            **_sessions.options,
            "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0), **_sessions.pool},
        },
    },
}
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_CACHE_ALIAS = "sessions"
CACHE_TTL_NOTE_SECONDS = env.whole("CACHE_TTL_NOTE_SECONDS", default=300, minimum=1)
CACHE_TTL_LIST_SECONDS = env.whole("CACHE_TTL_LIST_SECONDS", default=120, minimum=1)
CACHE_TTL_PROFILE_SECONDS = env.whole("CACHE_TTL_PROFILE_SECONDS", default=900, minimum=1)
CACHE_TTL_ABSENT_SECONDS = env.whole("CACHE_TTL_ABSENT_SECONDS", default=30, minimum=1)

# --- Identity (docs/adr/0028-identity.md) --------------------------------------------------------
# Who calls the API: whom X-User-Id names, unchecked; the subject of a token; or the user of a session of the admin.
AUTHENTICATION = env.choice("AUTHENTICATION", default="stub", choices=("stub", "jwt", "session"))
# Whether all may read notes, profiles and activity, or only their own user and staff.
READS = env.choice("READS", default="open", choices=("open", "owner"))
_token_settings: dict[str, Any] = {
    "jwks": env.str("JWT_JWKS", default=""),  # URL or path of a key set; or instead of it
    "key": env.str("JWT_KEY", default=""),  # a public key in PEM, or a shared secret; or the
    "key_file": env.str("JWT_KEY_FILE", default=""),  # path of either
    "algorithms": env.list("JWT_ALGORITHMS", default=["RS256"]),
    "issuer": env.str("JWT_ISSUER", default=""),
    "audience": env.str("JWT_AUDIENCE", default=""),
    "leeway_seconds": env.whole("JWT_LEEWAY_SECONDS", default=10, maximum=300),  # of other clocks
    # Between two fetches of the key set, at least.
    "refresh_seconds": env.whole("JWT_JWKS_REFRESH_SECONDS", default=60, minimum=1),
}
JWT: Any = None  # config.web.tokens.TokenRules
if AUTHENTICATION == "jwt":
    from config.web.tokens import rules_of  # cryptography: 60 ms, which other sites are spared

    JWT = rules_of(**_token_settings)

# --- The API -----------------------------------------------------------------------------------
# Of each caller over all instances, such as 100/second; empty: none.
RATE_LIMIT_READ = env.rate("RATE_LIMIT_READ")
RATE_LIMIT_WRITE = env.rate("RATE_LIMIT_WRITE")
RATE_LIMIT_SEARCH = env.rate("RATE_LIMIT_SEARCH")  # reads with q, which do not count as reads
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["config.web.authentication.UserIdAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": ["config.web.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["config.web.parsers.ProblemRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.web.parsers.JSONOnly",
    "EXCEPTION_HANDLER": "config.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "config.web.openapi.Schema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Trilith",
    "DESCRIPTION": "Notes, profiles and activity. Notes and profiles are read through a cache in Redis; "
    "Cache-Status says how each read was answered.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.web.openapi.complete_responses",
    ],
}

# --- OpenTelemetry (docs/adr/0030-opentelemetry.md) ----------------------------------------------
# Where spans are sent by OTLP over HTTP; empty: none are recorded, and nothing of it is imported.
OTEL_EXPORTER_OTLP_ENDPOINT = env.http_url("OTEL_EXPORTER_OTLP_ENDPOINT")
# Of an attempt to send, and of the wait for it when a process ends; so below config.stack.site.DRAIN_SECONDS.
OTEL_EXPORTER_OTLP_TIMEOUT = env.number("OTEL_EXPORTER_OTLP_TIMEOUT", default=3.0, minimum=0.001)
if OTEL_EXPORTER_OTLP_ENDPOINT and find_spec("opentelemetry") is None:
    raise ImproperlyConfigured(
        "OTEL_EXPORTER_OTLP_ENDPOINT needs the packages of requirements-otel.txt."
    )

# --- Logs --------------------------------------------------------------------------------------
EDGE_ACCESS_LOG = env.flag("EDGE_ACCESS_LOG", default=False)  # a line for each hit at the edge, too
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="console" if DEBUG else "json")  # json or console
LOGGING_CONFIG = None  # configured here, once, for structlog and for the standard library alike
try:
    logs.configure(level=LOG_LEVEL, form=LOG_FORMAT)
except ValueError as _exc:
    raise ImproperlyConfigured(f"{_exc}.") from _exc
