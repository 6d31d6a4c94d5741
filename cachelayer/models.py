"""
What the cache keeps in PostgreSQL: invalidations not yet delivered, the lease of trust, and who cleared what;
and the keys of writes that may be repeated.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


class TransactionId(models.Func):
    """The id of the current transaction, never used again (epoch included)."""

    template = "pg_current_xact_id()::text::bigint"
    output_field = models.BigIntegerField()
    arity = 0


class OutboxRow(models.Model):
    """
    Tags that a transaction has written; deleted once their stamps are.

    Rows come from cachelayer.invalidation, and from triggers through the function
    cachelayer_invalidate(tags). An intent announces a write to a store that shares no transaction
    with PostgreSQL: until it is due nobody but its writer may take it away.
    """

    tags = ArrayField(models.TextField())
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())  # before that, its writer delivers it itself
    transaction_id = models.BigIntegerField(db_default=TransactionId())
    is_intent = models.BooleanField(db_default=False)

    class Meta:
        db_table = "cachelayer_outbox"
        indexes = [
            # Whether the writer of this transaction has said already what a trigger says.
            models.Index(fields=["transaction_id"], name="idx_outbox_transaction"),
        ]

    def __str__(self) -> str:
        return ", ".join(self.tags)


class Trust(models.Model):
    """
    The lease of trust: a single row, with which any process may believe what Redis serves.

    See cachelayer.trust, which reads and writes it past Django.
    """

    until = models.DateTimeField()
    round = models.BigIntegerField()  # rises with each renewal
    server = models.TextField()  # for which it was granted: run_id:master_replid

    class Meta:
        db_table = "cachelayer_trust"

    def __str__(self) -> str:
        return f"round {self.round} until {self.until}"


class IdempotencyKey(models.Model):
    """
    A request that created rows, by its caller and its key, so that a repetition creates none.

    Written in the transaction of those rows by cachelayer.idempotency, and deleted a day later. The
    reply is not kept: the repetition has the same body, and whatever else a new row has is here.
    """

    pk = models.CompositePrimaryKey("caller", "key")
    caller = models.CharField(max_length=128)
    key = models.CharField(max_length=255)
    fingerprint = models.BinaryField()
    row_ids = ArrayField(models.UUIDField())
    created_at = models.DateTimeField()  # as that of the rows
    # By which a repetition finds the outbox row of the write, where that is still to be delivered.
    transaction_id = models.BigIntegerField(db_default=TransactionId())

    class Meta:
        db_table = "cachelayer_idempotency"
        indexes = [
            # Keys that are older than a day.
            models.Index(fields=["created_at"], name="idx_idempotency_created_at"),
        ]

    def __str__(self) -> str:
        return self.key


class Clearance(models.Model):
    """That somebody cleared namespaces of the cache, kept for whoever asks why it was slow then."""

    cleared_at = models.DateTimeField(db_default=Now())
    cleared_by = models.CharField(max_length=150)
    namespaces = ArrayField(models.TextField())

    class Meta:
        verbose_name = "clearance"
        verbose_name_plural = "cache"  # in the admin, its page is the cache's
        ordering = ["-cleared_at", "-pk"]

    def __str__(self) -> str:
        return f"{', '.join(self.namespaces)} by {self.cleared_by}"
