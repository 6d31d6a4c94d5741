"""The documents in PostgreSQL, as jsonb."""

from collections.abc import Sequence
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors
from psycopg.types.json import Jsonb

from config.explain.postgres_plans import parse_plan
from loadtests.experiments.document_or_relational.documents import DEEP, Document
from loadtests.experiments.document_or_relational.stores import Durability, FilterPlan, SizeOnDisk

_PATH: Final = list(DEEP)
_SETTINGS: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")
_GIN, _EXPRESSION = "GIN jsonb_path_ops", "expression"


class InPostgres:
    """A table beside the service's own, with fsync and synchronous_commit on."""

    name = "PostgreSQL"
    index_kinds = (_GIN, _EXPRESSION)

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=1)
        self.wait_for_disk(True)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def wait_for_disk(self, wait: bool) -> None:
        self._connection.execute(
            "SELECT set_config('synchronous_commit', %s, false)", ("on" if wait else "off",)
        )

    def durability(self) -> Durability:
        settings = tuple(
            (name, str(self._value("SELECT current_setting(%s)", (name,)))) for name in _SETTINGS
        )
        known = dict(settings)
        return Durability(
            settings, holds=known["fsync"] == "on" and known["synchronous_commit"] == "on"
        )

    def written_bytes(self) -> int:
        return int(self._value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def syncs(self) -> int:
        self._connection.execute("SELECT pg_stat_force_next_flush()")
        query = "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
        return int(self._value(query) or 0)

    def fill(self, sample: Sequence[Document]) -> None:
        self._connection.execute("DROP TABLE IF EXISTS lab_documents")
        self._connection.execute(
            "CREATE TABLE lab_documents (user_id text PRIMARY KEY, doc jsonb NOT NULL)"
        )
        with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY lab_documents (user_id, doc) FROM STDIN") as copy,
        ):
            for document in sample:
                copy.write_row((document["user_id"], Jsonb(document)))
        self._connection.execute("ANALYZE lab_documents")

    def drop(self) -> None:
        self._connection.execute("DROP TABLE IF EXISTS lab_documents, lab_notes")

    def read(self, user_id: str) -> Document:
        document: Document = self._value(
            "SELECT doc FROM lab_documents WHERE user_id = %s", (user_id,)
        )
        return document

    def insert(self, document: Document) -> None:
        self._connection.execute(
            "INSERT INTO lab_documents (user_id, doc) VALUES (%s, %s)",
            (document["user_id"], Jsonb(document)),
        )

    def update_nested(self, user_id: str, value: int) -> None:
        self._connection.execute(
            "UPDATE lab_documents SET doc = jsonb_set(doc, %s, %s) WHERE user_id = %s",
            (_PATH, Jsonb(value), user_id),
        )

    def replace(self, user_id: str, document: Document) -> None:
        self._connection.execute(
            "UPDATE lab_documents SET doc = %s WHERE user_id = %s",
            (Jsonb({**document, "user_id": user_id}), user_id),
        )

    def index_nested(self, kind: str) -> None:
        if kind == _GIN:
            self._connection.execute(
                "CREATE INDEX lab_nested ON lab_documents USING gin (doc jsonb_path_ops)"
            )
        else:
            self._connection.execute(
                "CREATE INDEX lab_nested ON lab_documents "
                "((doc #>> '{preferences,editor,fonts,code,size}'))"
            )
        self._connection.execute("ANALYZE lab_documents")

    def unindex_nested(self, kind: str) -> None:
        self._connection.execute("DROP INDEX lab_nested")

    def filter_nested(self, value: int, kind: str) -> int:
        return len(self._connection.execute(*_filter(value, kind)).fetchall())

    def explain_nested(self, value: int, kind: str) -> FilterPlan:
        query, params = _filter(value, kind)
        plan = parse_plan(self._value(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", params)[0], "")
        size = self._value("SELECT pg_relation_size(to_regclass('lab_nested'))")
        index = "none" if size is None else kind
        return FilterPlan(index, plan.rows_returned, plan.rows_examined, int(size or 0))

    def add_field(self, name: str) -> int:
        return self._connection.execute(
            "UPDATE lab_documents SET doc = jsonb_set(doc, %s, %s)",
            (["preferences", name], Jsonb("UTC")),
        ).rowcount

    def add_column(self) -> None:
        """Add a column with a default instead, as a relational table does."""
        self._connection.execute(
            "ALTER TABLE lab_documents ADD COLUMN timezone text NOT NULL DEFAULT 'UTC'"
        )

    def count_column(self) -> int:
        """Return how many rows show the column's default."""
        return int(self._value("SELECT count(*) FROM lab_documents WHERE timezone = 'UTC'"))

    def count_with_default(self, name: str) -> int:
        return int(
            self._value(
                "SELECT count(*) FROM lab_documents "
                "WHERE coalesce(doc #>> ARRAY['preferences', %s], 'UTC') = 'UTC'",
                (name,),
            )
        )

    def size(self) -> SizeOnDisk:
        self._connection.execute("CHECKPOINT")
        data = self._value("SELECT pg_table_size('lab_documents')")
        return SizeOnDisk(int(data), int(self._value("SELECT pg_indexes_size('lab_documents')")))

    def notes(self) -> list[Document]:
        """Return the service's notes without their content."""
        rows = self._connection.execute("SELECT id::text, user_id, title FROM notes").fetchall()
        return [{"_id": key, "user_id": user_id, "title": title} for key, user_id, title in rows]

    def count_notes(self) -> dict[str, int]:
        counted = self._connection.execute(
            "SELECT p.user_id, count(n.id) FROM user_profiles p "
            "LEFT JOIN notes n ON n.user_id = p.user_id GROUP BY p.user_id"
        )
        return {str(user_id): int(notes) for user_id, notes in counted.fetchall()}

    def summarize_notes(self) -> dict[str, tuple[int, int]]:
        grouped = self._connection.execute(
            "SELECT p.preferences ->> 'language', count(*), count(DISTINCT p.user_id) "
            "FROM user_profiles p JOIN notes n ON n.user_id = p.user_id "
            "WHERE p.preferences ->> 'theme' = 'dark' GROUP BY 1"
        )
        return {
            str(language): (int(notes), int(users)) for language, notes, users in grouped.fetchall()
        }

    def accepts_dangling_note(self) -> bool:
        self._connection.execute(
            "CREATE TABLE lab_notes (user_id varchar REFERENCES user_profiles, title text)"
        )
        try:
            self._connection.execute("INSERT INTO lab_notes VALUES ('nobody', 'not there')")
        except errors.ForeignKeyViolation:
            return False
        finally:
            self._connection.execute("DROP TABLE lab_notes")
        return True

    def _value(self, query: Any, values: Sequence[Any] = ()) -> Any:
        row = self._connection.execute(query, values or None).fetchone()
        if row is None:
            raise LookupError(values)
        return row[0]


def _filter(value: int, kind: str) -> tuple[LiteralString, tuple[object]]:
    """Return the filter on the nested key, phrased as an index of that kind supports it."""
    if kind == _GIN:
        return "SELECT user_id FROM lab_documents WHERE doc @> %s", (Jsonb(_nested(value)),)
    return (
        "SELECT user_id FROM lab_documents "
        "WHERE doc #>> '{preferences,editor,fonts,code,size}' = %s",
        (str(value),),
    )


def _nested(value: int) -> Document:
    nested: Any = value
    for key in reversed(DEEP):
        nested = {key: nested}
    document: Document = nested
    return document
