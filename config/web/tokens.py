"""Tokens of an identity provider: JSON Web Tokens (RFC 7519), verified by the JWT_ settings alone."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import jwt
from django.core.exceptions import ImproperlyConfigured

from config.web import token_keys
from config.web.token_keys import ALGORITHMS, FixedKey, KeySet, KeyUnknown

_TOKEN_CHARACTERS_MAX: Final = 8_192
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class TokenRejected(Exception):
    """The token is expired, malformed, for somebody else, or not signed by the issuer; the text says which."""


class VerifiedToken(NamedTuple):
    """What a token says: sub, and when it ends in Unix time, the leeway included."""

    subject: str
    ends_at: float


@dataclass(frozen=True, kw_only=True, eq=False)  # keys have no hash
class TokenRules:
    """
    How tokens are verified. Exactly one of jwks (URL or path of a key set) and key is there.

    key is a shared secret in bytes, or a public key.
    """

    algorithms: tuple[str, ...]
    issuer: str
    audience: str
    leeway_seconds: int
    refresh_seconds: int
    jwks: str
    key: Any


class TokenVerifier:
    """Verifies tokens by rules."""

    def __init__(self, rules: TokenRules) -> None:
        self._rules = rules
        self._keys: FixedKey | KeySet = (
            KeySet(rules.jwks, refresh_seconds=rules.refresh_seconds)
            if rules.jwks
            else FixedKey(rules.key)
        )

    def verify(self, token: str, *, may_wait: bool = True) -> VerifiedToken:
        """
        Return what the token says. may_wait: at most FETCH_SECONDS for a key that is not known here.

        Raises TokenRejected, KeysUnavailable.
        """
        rules = self._rules
        if len(token) > _TOKEN_CHARACTERS_MAX:
            raise TokenRejected(f"The token is longer than {_TOKEN_CHARACTERS_MAX} characters.")
        if not _TOKEN.fullmatch(token):
            raise TokenRejected("This is no signed token.")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError) as exc:
            raise TokenRejected("The header of the token cannot be read.") from exc
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in rules.algorithms:
            raise TokenRejected("The algorithm of the token is not accepted.")
        try:
            key = self._keys.key(kid, algorithm, may_wait=may_wait)
        except KeyUnknown as exc:
            raise TokenRejected("The key of the token is not known.") from exc
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=rules.issuer,
                audience=rules.audience,
                leeway=rules.leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            return VerifiedToken(claims["sub"], float(claims["exp"]) + rules.leeway_seconds)
        except jwt.PyJWTError as exc:
            raise TokenRejected(_reason(exc)) from exc
        except (ValueError, TypeError, OverflowError, RecursionError) as exc:
            raise TokenRejected("The claims of the token cannot be read.") from exc


_REASONS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "The token has expired."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token is for another audience."),
    (jwt.InvalidIssuerError, "The token is of another issuer."),
    (jwt.InvalidSignatureError, "The signature of the token does not match."),
)


def _reason(exc: jwt.PyJWTError) -> str:
    if isinstance(exc, jwt.MissingRequiredClaimError):
        return f"The token has no {exc.claim}."
    for kind, reason in _REASONS:
        if isinstance(exc, kind):
            return reason
    return "The token cannot be read."


def rules_of(
    *,
    jwks: str,
    key: str,
    key_file: str,
    algorithms: list[str],
    issuer: str,
    audience: str,
    leeway_seconds: int,
    refresh_seconds: int,
) -> TokenRules:
    """Return the rules of the JWT_ settings. Raises ImproperlyConfigured, which names the setting."""
    names = [text.strip() for text in algorithms]
    if unknown := [name for name in names if name not in ALGORITHMS] or ([] if names else [""]):
        raise ImproperlyConfigured(
            f"JWT_ALGORITHMS={','.join(unknown)!r}: must be of {', '.join(ALGORITHMS)}."
        )
    secrets = {token_keys.is_secret(name) for name in names}
    if len(secrets) > 1:
        raise ImproperlyConfigured(
            "JWT_ALGORITHMS: algorithms of a shared secret (HS...) cannot be mixed with those of a public key."
        )
    for name, value in (("JWT_ISSUER", issuer), ("JWT_AUDIENCE", audience)):
        if not value:
            raise ImproperlyConfigured(f"{name} is not set. AUTHENTICATION=jwt needs it.")
    sources = {"JWT_JWKS": jwks, "JWT_KEY": key, "JWT_KEY_FILE": key_file}
    given = [name for name, value in sources.items() if value]
    if len(given) != 1:
        raise ImproperlyConfigured(
            f"{' and '.join(given)} are set: AUTHENTICATION=jwt needs one of them alone."
            if given
            else "JWT_JWKS is not set, nor JWT_KEY or JWT_KEY_FILE: AUTHENTICATION=jwt needs one of them."
        )
    if jwks:
        _check_key_set(jwks, needs_secret=True in secrets)
    return TokenRules(
        algorithms=tuple(names),
        issuer=issuer,
        audience=audience,
        leeway_seconds=leeway_seconds,
        refresh_seconds=refresh_seconds,
        jwks=jwks,
        key=None if jwks else _key(given[0], key or _content(key_file), names),
    )


def _check_key_set(jwks: str, *, needs_secret: bool) -> None:
    if needs_secret:
        raise ImproperlyConfigured(
            "JWT_JWKS has public keys: a shared secret (JWT_ALGORITHMS) belongs in JWT_KEY or JWT_KEY_FILE."
        )
    if "://" in jwks:
        parts = urlsplit(jwks)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ImproperlyConfigured("JWT_JWKS: must be an https:// or http:// URL, or a path.")
        return
    try:
        keys = token_keys.read_key_set(Path(jwks).read_bytes())
    except (OSError, ValueError) as exc:
        raise ImproperlyConfigured(f"JWT_JWKS: {jwks} cannot be read: {exc}.") from exc
    if not keys:
        raise ImproperlyConfigured(f"JWT_JWKS: {jwks} has no key that could verify a token.")


def _content(key_file: str) -> str:
    try:
        return Path(key_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ImproperlyConfigured(f"JWT_KEY_FILE: {key_file} cannot be read: {exc}.") from exc


def _key(setting: str, text: str, algorithms: list[str]) -> Any:
    """Return the secret, or the public key. Never quotes it."""
    is_pem = "-----BEGIN" in text
    if token_keys.is_secret(algorithms[0]):
        if is_pem:
            raise ImproperlyConfigured(
                f"{setting} is a PEM key, which is no secret: JWT_ALGORITHMS must be those of its kind."
            )
        key: Any = text.encode()
    else:
        try:
            # Where a variable cannot have several lines, \n separates them.
            key = token_keys.read_public_key(text.replace("\\n", "\n").encode())
        except ValueError as exc:
            raise ImproperlyConfigured(
                f"{setting}: no public key in PEM (-----BEGIN PUBLIC KEY-----) can be read from it."
            ) from exc
    for name in algorithms:
        if not token_keys.fits(key, name):
            raise ImproperlyConfigured(
                f"{setting}: the key is too short or of another kind than {name} (JWT_ALGORITHMS) needs."
            )
    return key
