"""What was typed into the form of a note, and how it differs from what is stored."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from django.http import QueryDict

from config.web.serializers import StrictSerializer
from notes.records import NoteRecord

_DIFF_LINES_MAX: Final = 500  # of each text: difflib's work can grow with their product
_DIFF_CONTEXT_LINES: Final = 2


@dataclass(frozen=True)
class Draft:
    """The fields of the form; etag is that of the note as it was when the form was shown."""

    title: str = ""
    content: str = ""
    etag: str = ""

    @classmethod
    def typed(cls, form: QueryDict) -> "Draft":
        """Return what a browser has sent."""
        return cls(
            form.get("title", ""), with_line_feeds(form.get("content", "")), form.get("etag", "")
        )

    @classmethod
    def of(cls, note: NoteRecord, etag: str) -> "Draft":
        """Return what the form of a note shows first."""
        return cls(note.title, with_line_feeds(note.content), etag)

    def shown(self) -> "Draft":
        """Return the draft with what HTML may hold in the place of NUL, which is a mistake."""
        fields = (self.title, self.content, self.etag)
        return Draft(*(field.replace("\0", "\ufffd") for field in fields))

    def mistakes(self, form: type[StrictSerializer]) -> dict[str, str]:
        """Return a message for each field that the API would refuse."""
        checked = form(data={"title": self.title, "content": self.content})
        checked.is_valid()
        return {name: " ".join(map(str, messages)) for name, messages in checked.errors.items()}

    def is_stored_as(self, note: NoteRecord) -> bool:
        """Return whether saving this would change nothing."""
        return self.title.strip() == note.title and self.has_content_of(note)

    def has_content_of(self, note: NoteRecord) -> bool:
        """Return whether the text is that of the note, but for how its lines end."""
        return self.content == with_line_feeds(note.content)


def with_line_feeds(text: str) -> str:
    """Return the text as the API of a textarea has it: browsers send CRLF, whatever was there before."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def differences(
    stored: str, typed: str
) -> list[tuple[Literal["stored", "typed", "both", "gap"], str]] | None:
    """Return the lines that differ, and some around them; None where the texts have too many lines."""
    old, new = with_line_feeds(stored).split("\n"), with_line_feeds(typed).split("\n")
    if max(len(old), len(new)) > _DIFF_LINES_MAX:
        return None
    return list(_differing(old, new))


def _differing(
    old: list[str], new: list[str]
) -> Iterator[tuple[Literal["stored", "typed", "both", "gap"], str]]:
    groups = difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(_DIFF_CONTEXT_LINES)
    for number, group in enumerate(groups):
        if number:
            yield "gap", ""
        for operation, old_start, old_end, new_start, new_end in group:
            if operation == "equal":
                for line in old[old_start:old_end]:
                    yield "both", line
                continue
            for line in old[old_start:old_end]:
                yield "stored", line
            for line in new[new_start:new_end]:
                yield "typed", line
