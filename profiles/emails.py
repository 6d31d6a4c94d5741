"""E-mail addresses: which ones a profile may have, and which two are the same."""

import unicodedata
from typing import Final

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from profiles.limits import EMAIL_MAX_BYTES

# The library's list, made to be changed: in a closed network there are names such as mail.local, and
# in tests there is erika@example.test.
SPECIAL_USE_DOMAIN_NAMES.clear()
_LOCAL_PART_MAX_BYTES: Final = 64  # RFC 5321, 4.5.3.1.1


class EmailRejected(ValueError):
    """The text is no e-mail address, for the reason that the message gives."""


def check_email(text: str) -> None:
    """
    Raise EmailRejected unless text is an address that a mail server may be asked to deliver to.

    RFC 5321 and, for letters beyond ASCII, RFC 6531 and IDNA 2008; quoted local parts and address
    literals included. The domain has a period, so that localhost is none. No name is looked up.
    """
    try:
        address = validate_email(
            text,
            allow_smtputf8=True,
            allow_quoted_local=True,
            allow_domain_literal=True,
            check_deliverability=False,
            globally_deliverable=False,  # its own rule of names is the one below
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
    Return what two addresses have in common that differ in case alone.

    The canonical caseless match of the Unicode Standard, 3.13, definition D145.
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", email).casefold())
