"""Generated documents of a given size, the same for both stores, with a value deep inside."""

import random
from collections.abc import Iterator
from typing import Any, Final

Document = dict[str, Any]
DEEP: Final = ("preferences", "editor", "fonts", "code", "size")
DEEP_VALUES: Final = 100  # every value occurs in one document of so many
_THEMES: Final = ("light", "dark", "system")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_WORDS_IN_A_DRAFT: Final = 12
_FIRST_BYTES: Final = 200  # of a document without drafts, as JSON
_DRAFT_BYTES: Final = 40  # of a draft without its words


def user_id(number: int) -> str:
    """Return the key of a document."""
    return f"user-{number:06}"


def documents(count: int, size_bytes: int, *, seed: int) -> Iterator[Document]:
    """Yield documents of about size_bytes as JSON, half of it words; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # generated data
    words = ["".join(rng.choices(_LETTERS, k=rng.randint(3, 9))) for _ in range(2_000)]
    for number in range(count):
        yield _document(number, size_bytes, rng, words)


def _document(number: int, size_bytes: int, rng: random.Random, words: list[str]) -> Document:
    drafts: list[Document] = []
    size = _FIRST_BYTES
    while size < size_bytes:
        text = " ".join(rng.choices(words, k=_WORDS_IN_A_DRAFT))
        drafts.append({"title": text, "done": rng.random() < 0.5})
        size += len(text) + _DRAFT_BYTES
    fonts = {"code": {"size": number % DEEP_VALUES}, "text": {"size": 12}}
    return {
        "user_id": user_id(number),
        "email": f"{user_id(number)}@example.org",
        "preferences": {
            "theme": rng.choice(_THEMES),
            "language": "en",
            "editor": {"fonts": fonts},
        },
        "drafts": drafts,
    }
