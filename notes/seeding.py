"""
Generated notes, a pure function of a few numbers: the same rows on every machine, in every run.

Skewed as real use is: user abc owns every seventh note, the others follow Zipf's law; and so do
the words of titles, which makes some searches common and others rare; times cluster towards the
end and in working hours; few notes are long, few were edited.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

BATCH_ROWS: Final = 10_000
HEAVY_USER: Final = "abc"
_HEAVY_EVERY: Final = 7  # more than an eighth, exactly, in any prefix
DAYS: Final = 731  # the time span in which the notes were created
_HOUR_WEIGHTS: Final = (
    *(1, 1, 1, 1, 1, 1, 2, 5, 9, 12, 12, 11),
    *(8, 10, 12, 12, 11, 9, 6, 5, 5, 4, 3, 2),
)
_WORDS: Final = """
    meeting notes project plan review database index query cache budget draft ideas report
    design release test customer weekly summary market research todo list travel book recipe
    garden running training interview feedback roadmap sprint backlog bug incident
    postmortem backup restore migration schema deploy latency throughput queue worker token
    session login profile invoice contract offer price supplier order delivery warehouse
    shipping return refund support ticket answer question survey result chart graph table
    column row value key lock transaction commit rollback replica primary failover snapshot
    archive retention policy audit security password secret rotation certificate network
    firewall router switch cable rack server laptop monitor keyboard chair desk window door
    light lamp paint wall floor kitchen bread butter cheese coffee tea water wine dinner
    lunch breakfast weekend holiday mountain lake river forest beach train flight hotel
    museum concert theatre film music guitar piano violin song poem novel chapter letter
    postcard photo camera birthday wedding school teacher exam lecture thesis paper
    experiment hypothesis method sample error average median percentile variance budgeting
    hiring onboarding workshop agenda minutes decision proposal estimate deadline milestone
    scope risk
""".split()  # noqa: SIM905  # a list literal of so many words would be unreadable
_LINKS: Final = ("and", "the", "of", "for", "with", "in", "on", "a", "to", "after", "before")


class Row(NamedTuple):
    """One note, in the order of the table's columns. Times are in UTC."""

    id: UUID
    user_id: str
    title: str
    content: str
    created_at: datetime
    updated_at: datetime
    version: int


def batches(*, count: int, users: int, seed: int, until: date) -> Iterator[list[Row]]:
    """
    Yield count notes in lists of BATCH_ROWS, the last one shorter, created before until (00:00 UTC).

    A smaller count gives the beginning of a larger one; another day shifts all times and
    changes nothing else. Batches do not depend on each other.
    """
    vocabulary = _Vocabulary(users, seed, until)
    for number in range(-(-count // BATCH_ROWS)):
        rows = vocabulary.batch(number)
        yield rows[: count - number * BATCH_ROWS]


def note_id(*, seed: int, index: int) -> UUID:
    """Return the id of the seeded note with this index: a version 4 UUID that looks random."""
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=16).digest()
    return UUID(bytes=digest, version=4)


class _Vocabulary:
    """Users, words and sentences with their weights, from which all batches draw."""

    def __init__(self, users: int, seed: int, until: date) -> None:
        self.seed = seed
        self.end = datetime(until.year, until.month, until.day, tzinfo=UTC)
        width = len(str(users))
        others = [f"user-{number:0{width}}" for number in range(1, users)]
        self.users = others or [HEAVY_USER]
        self.user_weights = _zipf(len(self.users))
        self.word_weights = _zipf(len(_WORDS))
        chance = random.Random(f"{seed}:sentences")  # noqa: S311  # notes are no secret
        self.sentences = [self._sentence(chance) for _ in range(2_000)]
        self.name = f"{seed}:{users}"

    def _sentence(self, chance: random.Random) -> str:
        words = chance.choices(_WORDS, k=chance.randint(4, 12))
        link = chance.choice(_LINKS)
        return f"{words[0].capitalize()} {link} {' '.join(words[1:])}."

    def batch(self, number: int) -> list[Row]:
        """Return the batch's rows. Everything is drawn for all rows at once, which is cheaper."""
        chance = random.Random(f"{self.name}:{number}")  # noqa: S311  # notes are no secret
        rows = range(number * BATCH_ROWS, (number + 1) * BATCH_ROWS)
        owners = chance.choices(self.users, cum_weights=self.user_weights, k=BATCH_ROWS)
        titles = self._joined(
            chance, _WORDS, [2 + int(chance.random() * 7) for _ in rows], self.word_weights
        )
        contents = self._joined(chance, self.sentences, [_sentences(chance, row) for row in rows])
        times = self._times(chance)
        return [
            Row(
                note_id(seed=self.seed, index=row),
                HEAVY_USER if row % _HEAVY_EVERY == 0 else owner,
                title.capitalize(),
                content,
                *when,
            )
            for row, owner, title, content, when in zip(
                rows, owners, titles, contents, times, strict=True
            )
        ]

    def _joined(
        self,
        chance: random.Random,
        parts: Sequence[str],
        lengths: list[int],
        weights: list[float] | None = None,
    ) -> list[str]:
        """Return a text for each length, which is its number of parts."""
        drawn = iter(chance.choices(parts, cum_weights=weights, k=sum(lengths)))
        return [" ".join(itertools.islice(drawn, length)) for length in lengths]

    def _times(self, chance: random.Random) -> list[tuple[datetime, datetime, int]]:
        """Return created_at, updated_at and version of each row; one note in five was edited."""
        times = []
        start = self.end - timedelta(days=DAYS)
        for hour in chance.choices(range(24), weights=_HOUR_WEIGHTS, k=BATCH_ROWS):
            day = int(DAYS * chance.random() ** 0.5)
            created_at = start + timedelta(days=day, seconds=(hour + chance.random()) * 3600)
            version, updated_at = 1, created_at
            if chance.random() < 0.2:
                version = 2 + int(chance.expovariate(1))
                updated_at = created_at + (self.end - created_at) * chance.random() ** 3
            times.append((created_at, updated_at, version))
        return times


def _sentences(chance: random.Random, row: int) -> int:
    """Return the number of sentences of a content: about 3; every hundredth note has 100 or more."""
    usual = 1 + int(chance.expovariate(0.4))
    return min(100 + usual * 20, 900) if row % 100 == 99 else usual


def _zipf(count: int) -> list[float]:
    """Return the cumulative weights 1, 1/2, 1/3, ..."""
    return list(itertools.accumulate(1 / rank for rank in range(1, count + 1)))
