"""The keys by which tokens are verified: a single one of the settings, or a key set (JWKS, RFC 7517)."""

import http.client
import json
import math
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

log = structlog.get_logger("api")

FETCH_SECONDS: Final = 2.0  # that a request waits for a key set; the contract has 3 s for its 503
_SET_BYTES_MAX: Final = 1_048_576
_RSA_BITS_MIN: Final = 2048  # RFC 7518, 3.3
# RFC 7518, 3.1, and RFC 8037, 3.1; for each the bytes of a secret (3.2), or the curve (3.4).
_SECRET_BYTES_MIN: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS: Final = (*_RSA, *_CURVES, "EdDSA", *_SECRET_BYTES_MIN)


class KeyUnknown(Exception):
    """No key of the set verifies such a token."""


class KeysUnavailable(Exception):
    """The key is not known here, and the key set cannot be fetched at present."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("The key of this token cannot be fetched at present.")
        self.retry_after_seconds = retry_after_seconds


def is_secret(algorithm: str) -> bool:
    """Return whether the algorithm takes a shared secret."""
    return algorithm in _SECRET_BYTES_MIN


def fits(key: Any, algorithm: str) -> bool:
    """Return whether the key is one of the algorithm: neither another kind, nor too short."""
    match key:
        case bytes():
            return len(key) >= _SECRET_BYTES_MIN.get(algorithm, math.inf)
        case RSAPublicKey():
            return algorithm in _RSA and key.key_size >= _RSA_BITS_MIN
        case EllipticCurvePublicKey():
            return _CURVES.get(algorithm) == key.curve.name
        case Ed25519PublicKey():
            return algorithm == "EdDSA"
    return False


def read_public_key(pem: bytes) -> Any:
    """Return the public key of a PEM text. Raises ValueError."""
    try:
        return load_pem_public_key(pem)
    except UnsupportedAlgorithm as exc:
        raise ValueError(str(exc)) from exc


class _SetKey(NamedTuple):
    """A key of a set; None as algorithm: it is for all that it fits."""

    kid: str | None
    algorithm: str | None
    key: Any


class FixedKey:
    """The only key."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def key(self, kid: str | None, algorithm: str, *, may_wait: bool) -> Any:
        """Return the key, whatever kid is. Raises KeyUnknown where it is none of the algorithm."""
        if not fits(self._key, algorithm):
            raise KeyUnknown
        return self._key


class KeySet:
    """
    The keys behind a URL, or in a file: read again at most every refresh_seconds, while tokens come.

    A thread of its own fetches, so that no request waits longer than FETCH_SECONDS, whatever the server
    does. While the set cannot be fetched the keys of the last one hold.
    """

    def __init__(self, source: str, *, refresh_seconds: float) -> None:
        self._source = source
        self._refresh_seconds = refresh_seconds
        self._keys: list[_SetKey] = []
        self._lock = threading.Lock()  # of what follows
        self._started_at = -math.inf  # the last fetch
        self._ended = threading.Event()  # that fetch
        self._is_away = False

    def key(self, kid: str | None, algorithm: str, *, may_wait: bool) -> Any:
        """
        Return the key with that kid for the algorithm; without a kid, the only one that fits.

        may_wait: fetch the set where that is due, or where it is being fetched and the key is not known, wait.
        Raises KeyUnknown, KeysUnavailable.
        """
        starts = may_wait and self._start_fetch()
        key = self._lookup(kid, algorithm)
        if may_wait and (starts or key is None):
            self._ended.wait(FETCH_SECONDS)
            key = self._lookup(kid, algorithm)
        if key is not None:
            return key
        if self._is_away or not self._ended.is_set():
            seconds_left = self._started_at + self._refresh_seconds - time.monotonic()
            raise KeysUnavailable(math.ceil(max(1.0, seconds_left)))
        raise KeyUnknown

    def _lookup(self, kid: str | None, algorithm: str) -> Any | None:
        matching = [
            each.key
            for each in self._keys
            if kid in (None, each.kid)
            and each.algorithm in (None, algorithm)
            and fits(each.key, algorithm)
        ]
        return matching[0] if matching and (kid is not None or len(matching) == 1) else None

    def _start_fetch(self) -> bool:
        """Fetch in the background where that is due; return whether it was."""
        now = time.monotonic()
        with self._lock:
            if now - self._started_at < self._refresh_seconds:
                return False
            self._started_at = now
            self._ended = ended = threading.Event()
        threading.Thread(target=self._fetch, args=[ended], name="jwks", daemon=True).start()
        return True

    def _fetch(self, ended: threading.Event) -> None:
        keys, reason = [], "it has no key that could verify a token"
        try:
            keys = read_key_set(_content_of(self._source))
        except (OSError, http.client.HTTPException, ValueError) as exc:
            reason = str(exc)
        finally:
            with self._lock:
                if ended is self._ended:  # else a later fetch has taken the place of this one
                    self._is_away = not keys
                    self._keys = keys or self._keys
            ended.set()
        if not keys:
            log.warning("key set not fetched", source=self._source, reason=reason)


def read_key_set(content: bytes) -> list[_SetKey]:
    """
    Return the public keys for signatures that a key set has; others are skipped (RFC 7517, 5).

    Raises ValueError where it is none.
    """
    try:
        members = json.loads(content)
    except RecursionError as exc:
        raise ValueError("too deep") from exc
    if not isinstance(members, dict) or not isinstance(members.get("keys"), list):
        raise ValueError('not a key set: {"keys": [...]}')  # noqa: TRY004  # a file's content, no argument
    keys = []
    for member in members["keys"]:
        try:
            if member.get("use", "sig") != "sig" or "verify" not in member.get(
                "key_ops", ["verify"]
            ):
                continue
            key = jwt.PyJWK(member).key
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
            continue  # a kind that is not known here
        if not isinstance(key, bytes) and any(fits(key, each) for each in ALGORITHMS):
            keys.append(_SetKey(member.get("kid"), member.get("alg"), key))
    return keys


def _content_of(source: str) -> bytes:
    """Return the text of a key set. Raises OSError, http.client.HTTPException, ValueError."""
    if "://" not in source:
        return Path(source).read_bytes()
    deadline = time.monotonic() + FETCH_SECONDS
    content = b""
    # The scheme is https or http: the settings refuse others.
    try:
        reply = urllib.request.urlopen(source, timeout=FETCH_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as exc:
        exc.close()  # it is the reply, too
        raise
    with reply:
        while chunk := reply.read1(65_536):
            content += chunk
            if len(content) > _SET_BYTES_MAX or time.monotonic() > deadline:
                raise ValueError("too long, or too slow")
    return content
