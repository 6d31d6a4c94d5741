"""Bearer tokens: which are accepted, which are refused and why, and what becomes of them while keys change."""

import base64
import datetime
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from config.web import callers, token_keys
from config.web.tokens import rules_of
from tests.builders import make_note

pytestmark = pytest.mark.django_db(transaction=True)

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER, AUDIENCE = "https://provider.example/", "trilith"
SECRET = "a secret that is shared, of more than 32 bytes"


def pem(key) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def jwk(key, kid: str, **members: str) -> dict:
    kind = jwt.algorithms.RSAAlgorithm if key is not EC_KEY else jwt.algorithms.ECAlgorithm
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, **members}


def token_of(key=RSA_KEY, *, algorithm="RS256", kid="k1", leave_out=(), **claims) -> str:
    """A token that is accepted, but for what is changed."""
    now = int(time.time())
    values = {"sub": "abc", "iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now} | claims
    values = {name: value for name, value in values.items() if name not in leave_out}
    return jwt.encode(values, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def made_by_hand(header: dict, *, secret: bytes | None = None, **claims) -> str:
    """A token that no library would make."""
    body = jwt.decode(token_of(**claims), options={"verify_signature": False})
    text = f"{part(header)}.{part(body)}"
    if secret is None:
        return f"{text}."
    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    callers._identity.cache_clear()
    yield
    callers._identity.cache_clear()


def use(settings, **changes) -> None:
    """Have tokens accepted by these JWT_ settings."""
    values = {
        "jwks": "",
        "key": "",
        "key_file": "",
        "algorithms": ["RS256"],
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "leeway_seconds": 10,
        "refresh_seconds": 60,
    } | changes
    settings.AUTHENTICATION, settings.JWT = "jwt", rules_of(**values)


@pytest.fixture
def provider(settings) -> Iterator[SimpleNamespace]:
    """A server with a key set; fetches counts its requests, reply may be replaced."""
    state = SimpleNamespace(
        fetches=0, keys=[jwk(RSA_KEY, "k1")], status=200, wait=threading.Event()
    )
    state.wait.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.fetches += 1
            state.wait.wait(60)
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": state.keys}).encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/jwks"
    use(settings, jwks=state.url)
    yield state
    state.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


def send(header: str | None, method: str = "get", path: str = "/api/v1/notes", **extra):
    headers = {} if header is None else {"Authorization": header}
    client = Client(headers=headers, raise_request_exception=False)
    return getattr(client, method)(path, **extra)


def create(header: str | None):
    return send(header, "post", data='{"title": "x"}', content_type="application/json")


class TestAccepted:
    @pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
    def test_a_token_names_the_caller(self, settings, scheme):
        use(settings, key=pem(RSA_KEY))
        reply = create(scheme + token_of())

        assert (reply.status_code, reply.json()["user_id"]) == (201, "abc")

    def test_one_after_many_spaces_is_not_kept(self, settings):
        use(settings, key=pem(RSA_KEY))
        long = f"Bearer {' ' * 10_000}{token_of()}"

        assert create(long).status_code == 201
        assert callers.identity_of_settings().user_id_at_edge({"HTTP_AUTHORIZATION": long}) is None

    @pytest.mark.parametrize(
        "claims",
        [
            {"exp": -5},
            {"nbf": 5},
            {"iat": 5},
        ],
    )
    def test_a_clock_may_differ_by_the_leeway(self, settings, claims):
        use(settings, key=pem(RSA_KEY))
        now = int(time.time())
        moved = {name: now + seconds for name, seconds in claims.items()}

        assert create(f"Bearer {token_of(**moved)}").status_code == 201

    def test_one_audience_of_several_is_enough(self, settings):
        use(settings, key=pem(RSA_KEY))

        assert create(f"Bearer {token_of(aud=['x', AUDIENCE])}").status_code == 201

    def test_a_shared_secret_does(self, settings):
        use(settings, key=SECRET, algorithms=["HS256"])

        assert create(f"Bearer {token_of(SECRET, algorithm='HS256')}").status_code == 201

    def test_a_key_of_a_curve_does(self, settings):
        use(settings, key=pem(EC_KEY).replace("\n", "\\n"), algorithms=["ES256", "RS256"][:1])

        assert create(f"Bearer {token_of(EC_KEY, algorithm='ES256')}").status_code == 201

    def test_x_user_id_says_nothing(self, settings):
        use(settings, key=pem(RSA_KEY))
        client = Client(headers={"Authorization": f"Bearer {token_of()}", "X-User-Id": "eve"})
        reply = client.post("/api/v1/notes", '{"title": "x"}', content_type="application/json")

        assert reply.json()["user_id"] == "abc"


NOW = int(datetime.datetime.now(datetime.UTC).timestamp())
REFUSED = {
    "expired": lambda: token_of(exp=int(time.time()) - 11),
    "not-yet-valid": lambda: token_of(nbf=int(time.time()) + 60),
    "issued-in-the-future": lambda: token_of(iat=int(time.time()) + 60),
    "wrong-audience": lambda: token_of(aud="other"),
    "wrong-issuer": lambda: token_of(iss="https://other.example/"),
    "no-audience": lambda: token_of(leave_out=["aud"]),
    "no-issuer": lambda: token_of(leave_out=["iss"]),
    "no-expiry": lambda: token_of(leave_out=["exp"]),
    "endless": lambda: token_of(exp=float("inf")),
    "expiry-of-another-kind": lambda: token_of(exp="soon"),
    "no-subject": lambda: token_of(leave_out=["sub"]),
    "subject-of-another-kind": lambda: token_of(sub=7),
    "subject-empty": lambda: token_of(sub=""),
    "subject-no-user-id": lambda: token_of(sub="a b"),
    "subject-reserved": lambda: token_of(sub="recent"),
    "subject-anonymous": lambda: token_of(sub="anonymous"),
    "subject-admin": lambda: token_of(sub="admin-token"),
    "subject-too-long": lambda: token_of(sub="a" * 129),
    "none": lambda: made_by_hand({"alg": "none", "typ": "JWT"}),
    "none-signed": lambda: made_by_hand({"alg": "None"}, secret=b"x"),
    "signed-by-the-public-key": lambda: made_by_hand(
        {"alg": "HS256", "kid": "k1"}, secret=pem(RSA_KEY).encode()
    ),
    "other-algorithm": lambda: token_of(algorithm="RS512"),
    "algorithm-of-another-kind": lambda: made_by_hand({"alg": ["RS256"]}, secret=b"x"),
    "other-key": lambda: token_of(OTHER_KEY),
    "kid-of-another-kind": lambda: made_by_hand({"alg": "RS256", "kid": 7}, secret=b"x"),
    "tampered": lambda: ".".join(
        [(p := token_of().split("."))[0], part({"sub": "eve", "exp": NOW + 999}), p[2]]
    ),
    "huge": lambda: token_of(extra="x" * 9_000),
    "two-parts": lambda: token_of().rpartition(".")[0],
    "deep": lambda: f"{base64.urlsafe_b64encode(b'[' * 5_000).decode().rstrip('=')}.e30.e30",
    "not-json": lambda: "eA.eA.eA",
    "garbage": lambda: "garbage",
    "empty": lambda: "",
    "not-ascii": lambda: "\xe4.\xe4.\xe4",
    # As granian joins two fields.
    "twice": lambda: f"{token_of()},Bearer {token_of()}",
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    @pytest.mark.parametrize("reads", ["open", "owner"])
    def test_with_a_challenge_and_never_as_somebody(self, settings, name, reads):
        use(settings, key=pem(RSA_KEY))
        settings.READS = reads
        make_note()
        for reply in (send(f"Bearer {REFUSED[name]()}"), create(f"Bearer {REFUSED[name]()}")):
            assert reply.status_code == 401
            assert reply["Content-Type"] == "application/problem+json"
            assert reply.json()["type"] == "urn:trilith:problem:invalid-token"
            challenge = reply["WWW-Authenticate"]
            assert challenge.startswith('Bearer realm="trilith", error="invalid_token"')
            assert "results" not in reply.json()

    def test_by_the_same_rules_with_a_key_set(self, settings, provider):
        for name, make in REFUSED.items():
            assert send(f"Bearer {make()}").status_code == 401, name
        assert provider.fetches == 1

    @pytest.mark.parametrize("header", ["Basic eDp5", "Token x", "x"])
    def test_another_scheme_is_told_which_one_without_an_error(self, settings, header):
        use(settings, key=pem(RSA_KEY))
        reply = send(header)

        assert (reply.status_code, reply["WWW-Authenticate"]) == (401, 'Bearer realm="trilith"')

    def test_no_credentials_read_what_is_open_and_write_nothing(self, settings):
        use(settings, key=pem(RSA_KEY))

        assert send(None).status_code == 200
        reply = create(None)
        assert (reply.status_code, reply["WWW-Authenticate"]) == (401, 'Bearer realm="trilith"')


class TestKeySet:
    def test_is_fetched_once_for_many_tokens(self, provider):
        for number in range(5):
            assert send(f"Bearer {token_of(sub=f'user-{number}')}").status_code == 200
            assert send(f"Bearer {token_of(OTHER_KEY, kid=f'no-{number}')}").status_code == 401

        assert provider.fetches == 1

    def test_that_has_changed_is_fetched_again_for_a_new_kid(self, provider, monkeypatch):
        assert send(f"Bearer {token_of()}").status_code == 200
        provider.keys = [jwk(OTHER_KEY, "k2")]
        later(monkeypatch, 61)

        assert send(f"Bearer {token_of(OTHER_KEY, kid='k2')}").status_code == 200
        assert send(f"Bearer {token_of(sub='def')}").status_code == 401
        assert provider.fetches == 2

    def test_away_leaves_tokens_of_known_keys_accepted(self, provider, monkeypatch):
        assert send(f"Bearer {token_of()}").status_code == 200
        provider.status = 500
        later(monkeypatch, 61)
        reply = send(f"Bearer {token_of(OTHER_KEY, kid='k2')}")

        assert (reply.status_code, reply["Content-Type"]) == (503, "application/problem+json")
        assert 1 <= int(reply["Retry-After"]) <= 60
        assert send(f"Bearer {token_of(sub='def')}").status_code == 200
        assert provider.fetches == 2

    def test_that_hangs_is_a_503_and_hangs_no_request(self, provider, monkeypatch):
        monkeypatch.setattr(token_keys, "FETCH_SECONDS", 0.2)
        provider.wait.clear()

        assert send(f"Bearer {token_of()}").status_code == 503

    def test_by_which_a_key_is_for_another_algorithm_or_use(self, provider):
        provider.keys = [
            jwk(RSA_KEY, "k1", alg="RS512"),
            jwk(RSA_KEY, "k2", use="enc"),
            jwk(EC_KEY, "k3"),
            {"kty": "oct", "kid": "k4", "k": "c2VjcmV0"},
            {"kty": "new"},
            7,
        ]
        for kid in ("k1", "k2", "k3", "k4", None):
            assert send(f"Bearer {token_of(kid=kid)}").status_code == 401, kid

    def test_with_a_single_key_needs_no_kid(self, provider):
        assert send(f"Bearer {token_of(kid=None)}").status_code == 200

    def test_of_a_file_is_read(self, settings, tmp_path):
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": [jwk(RSA_KEY, "k1")]}))
        use(settings, jwks=str(file))

        assert send(f"Bearer {token_of()}").status_code == 200


def later(monkeypatch, seconds: float) -> None:
    """Have so many seconds pass for the key set."""
    clock = lambda real=time.monotonic: real() + seconds  # noqa: E731
    monkeypatch.setattr(token_keys, "time", SimpleNamespace(monotonic=clock))


class TestSettings:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({}, "JWT_JWKS is not set"),
            ({"key": "x", "jwks": "https://x/y"}, "JWT_JWKS and JWT_KEY are set"),
            ({"key": "no PEM"}, "JWT_KEY: no public key in PEM"),
            (
                {"key": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"},
                "JWT_KEY: no public",
            ),
            ({"key_file": "/nowhere.pem"}, "JWT_KEY_FILE: /nowhere.pem cannot be read"),
            ({"jwks": "/nowhere.json"}, "JWT_JWKS: /nowhere.json cannot be read"),
            ({"jwks": "ftp://x/y"}, "JWT_JWKS: must be"),
            ({"key": pem(RSA_KEY), "algorithms": ["HS256"]}, "JWT_KEY is a PEM key"),
            ({"key": pem(RSA_KEY), "algorithms": ["ES256"]}, "JWT_KEY: the key is too short or of"),
            ({"key": "short", "algorithms": ["HS256"]}, "JWT_KEY: the key is too short"),
            ({"key": SECRET, "algorithms": ["HS256", "RS256"]}, "JWT_ALGORITHMS"),
            ({"key": SECRET, "algorithms": ["none"]}, "JWT_ALGORITHMS='none'"),
            ({"key": SECRET, "algorithms": []}, "JWT_ALGORITHMS=''"),
            ({"jwks": "https://x/y", "algorithms": ["HS256"]}, "JWT_JWKS has public keys"),
            ({"key": pem(RSA_KEY), "issuer": ""}, "JWT_ISSUER is not set"),
            ({"key": pem(RSA_KEY), "audience": ""}, "JWT_AUDIENCE is not set"),
        ],
    )
    def test_that_cannot_work_are_named_in_a_line_without_the_key(self, settings, changes, named):
        with pytest.raises(ImproperlyConfigured) as refusal:
            use(settings, **changes)

        assert named in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert SECRET not in str(refusal.value)
