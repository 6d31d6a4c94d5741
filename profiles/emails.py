"""E-mail addresses: which are valid, and which are equal without case."""

import unicodedata
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from profiles.limits import EMAIL_MAX_BYTES

# The library documents this list as changeable: closed networks have names such as mail.local, and
# tests use erika@example.test.
SPECIAL_USE_DOMAIN_NAMES.clear()
_LOCAL_PART_MAX_BYTES: Final = 64  # RFC 5321, 4.5.3.1.1


class EmailRejected(ValueError):
    """The text is not a valid e-mail address; the message says why."""


def check_email(text: str) -> None:
    """
    Raise EmailRejected unless text is an address to which a mail server could deliver.

    RFC 5321 and, for letters beyond ASCII, RFC 6531 and IDNA 2008; quoted local parts and address
    literals included. The domain must have a period, so localhost is refused. DNS is not queried.
    """
    try:
        address = validate_email(
            text,
            allow_smtputf8=True,
            allow_quoted_local=True,
            allow_domain_literal=True,
            check_deliverability=False,
            globally_deliverable=False,  # the rule for domain names is below
        )
    except EmailNotValidError as exc:
        raise EmailRejected(str(exc)) from exc
    local_part = text.rpartition("@")[0]
    domain = address.ascii_domain
    if len(local_part.encode()) > _LOCAL_PART_MAX_BYTES:
        raise EmailRejected(f"At most {_LOCAL_PART_MAX_BYTES} bytes may stand before the @-sign.")
    if len(text.encode()) > EMAIL_MAX_BYTES:
        raise EmailRejected(f"An e-mail address has at most {EMAIL_MAX_BYTES} bytes.")
    is_name = "." in domain and domain[-1].isalpha()
    if not is_name and not domain.startswith("["):  # that of an address literal
        raise EmailRejected("After the @-sign a domain name such as example.org is needed.")


def email_key(email: str) -> str:
    """
    Return the key that addresses differing only in case share.

    The canonical caseless match of the Unicode Standard, 3.13, definition D145.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", email).casefold())
