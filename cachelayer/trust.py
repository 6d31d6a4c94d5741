"""
Whether what Redis serves may be believed: a lease, kept in PostgreSQL (docs/adr/0020-the-trust-lease.md).

Each rule here has a variant without it that fails in tests/cachelayer/outage_interleavings.py.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
import redis
import structlog
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, transaction

from cachelayer import client, hosts, metrics, server_identity, slots
from cachelayer.client import CacheDown
from cachelayer.conf import config
from cachelayer.host_clock import SINCE_BOOT
from cachelayer.namespace import declared
from cachelayer.session import session_alias
from cachelayer.supervision import supervise

T = TypeVar("T")
log = structlog.get_logger("cachelayer")

# Of its own: a thread that draws from the shared generator disturbs whoever has seeded that.
_jitter = random.Random()  # noqa: S311  # no secret

LEASE_SECONDS: Final = 1.5
_LOOK_SECONDS: Final = 0.3  # between two looks of a process at the row
_KEPT_BELOW_SECONDS: Final = LEASE_SECONDS * 2 / 3  # whoever sees less left renews the lease
_IMPOSSIBLE_SECONDS: Final = LEASE_SECONDS * 2  # left: PostgreSQL's clock was set back
_RETRY_SECONDS: Final = 0.02  # where another held the lock of the row
_POSTPONED_ABOVE_SECONDS: Final = (
    0.6  # left: below that nobody waits for writers to delete their rows
)
_POSTPONED_SECONDS: Final = 0.05  # about as long as such a row lives (cachelayer.later)
_CLOCK_ERROR: Final = 0.05  # assumed at most, of the rates of two clocks
_SILENT_SECONDS: Final = 0.5  # without a reply: PostgreSQL is silent
_FIRST_SECONDS: Final = 1.0  # at most, that the first use in a process waits for the first look
# More than can be unlinked within Redis's timeout: then all namespaces are cleared instead.
_ROWS_MAX: Final = 500
_TAGS_MAX: Final = 1_000
# For so long a round waits for other hosts: no longer than a writer waits for the lock of the row.
_ACKNOWLEDGED_SECONDS: Final = 0.1
_IDLE_IN_TRANSACTION_MS: Final = 500  # a keeper that is stopped holds the lock no longer
# A server that is gone without a word is noticed after 11 s: by a session that is idle, and by one that waits
# for what it has sent to be acknowledged, of which the system sends no keepalives.
KEEPALIVES: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 11_000,
}

_LOOK: Final = """
    SELECT round, extract(epoch FROM until - clock_timestamp())::float8, server
    FROM cachelayer_trust WHERE id = 1 AND NOT pg_is_in_recovery()  -- a standby has another clock
"""
_LOCK: Final = f"{_LOOK} FOR UPDATE NOWAIT"
# Due or not: a writer delivers its own row, but may be dead. An intent announces what may not be
# written yet; it is its writer's until it is due.
_ROWS: Final = """
    SELECT array_remove(ARRAY(SELECT unnest(tags)), NULL) FROM cachelayer_outbox
    WHERE NOT is_intent OR due_at <= clock_timestamp() LIMIT %s
"""
# Rows whose writers are at work: they unlink the tags themselves, and delete the row a moment after
# their answer. A round in between unlinks them once more, and what was stored since.
_AT_WORK: Final = """
    SELECT EXISTS (SELECT FROM cachelayer_outbox WHERE NOT is_intent AND due_at > clock_timestamp())
"""
# now() is the start of the transaction, so before the outbox was read.
_GRANT: Final = """
    UPDATE cachelayer_trust
    SET until = greatest(until, now() + make_interval(secs => %s)), round = round + 1, server = %s
    WHERE id = 1 RETURNING round, extract(epoch FROM until - now())::float8, server
"""
# Where somebody deleted it, or PostgreSQL's clock was set back: what it said is unknown, so nobody may
# have a lease until it is over.
_RESET: Final = """
    INSERT INTO cachelayer_trust (id, until, round, server)
    VALUES (1, now() + make_interval(secs => %s), 0, '')
    ON CONFLICT (id) DO UPDATE SET until = excluded.until, round = cachelayer_trust.round + 1, server = ''
"""
_SHARE: Final = """
    SELECT extract(epoch FROM until - clock_timestamp())::float8
    FROM cachelayer_trust WHERE id = 1 FOR SHARE
"""

# Rises with each lease that begins in this process after one that lapsed, or for another server:
# copies of an older generation are dead. Compare it after holds(), not before: a lease that begins
# in between raises it first.
generation = 0


class Untrusted(CacheDown):
    """Redis may not be believed: this process has no lease at present."""


class Row(NamedTuple):
    """The row of the lease: its round, the seconds that are left of it, its server."""

    round: int
    rest_seconds: float
    server: str


class Grant(NamedTuple):
    """What this process knows of the lease: by its own clock, and 5 % earlier."""

    deadline: float
    server: str


def clock() -> float:
    """Return seconds that go on while the machine is suspended."""
    return time.clock_gettime(SINCE_BOOT)


class Lease:
    """
    A process's knowledge of the lease, and its part in keeping it.

    While it is held, no read may return less than the newest write that was answered before the
    read began, provided that the read's connection leads to the server of the lease.
    """

    def __init__(self, when_begun: Callable[[], None] = lambda: None) -> None:
        self.deadline = 0.0  # of grant, for holds()
        self._grant = Grant(0.0, "")
        self._when_begun = when_begun
        self._round: int | None = None
        self._connection: psycopg.Connection[Any] | None = None
        self._unanswered_since: float | None = None  # since when PostgreSQL has not replied
        self._read_only = False
        self._reason = ""  # why the lease was not renewed
        self._shown: bool | None = None  # what was logged and counted last
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._looked = threading.Event()
        self._stopping = threading.Event()

    @property
    def is_held(self) -> bool:
        """Whether this process may believe the server of the lease."""
        return clock() < self.deadline

    @property
    def is_started(self) -> bool:
        """Whether this process takes part in the lease."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_missed(self) -> bool:
        """Whether this process takes part in the lease, and has none."""
        return self.is_started and self._looked.is_set() and not self.is_held

    @property
    def is_unverifiable(self) -> bool:
        """
        Whether there is no lease because PostgreSQL does not answer, or takes no writes.

        Then no write that this process would see there can be acknowledged, so stamps may be
        compared nevertheless; but nothing is promised of it.
        """
        unanswered_since = self._unanswered_since
        is_silent = unanswered_since is not None and clock() - unanswered_since > _SILENT_SECONDS
        return (is_silent or self._read_only) and not self.is_held

    @property
    def is_usable(self) -> bool:
        """Whether what Redis serves may be used, if only unverified."""
        return self.is_held or self.is_unverifiable

    @property
    def server(self) -> str:
        """The server of the lease, "" where there was none yet."""
        return self._grant.server

    def counts(self, server: str) -> bool:
        """
        Return whether what a server has confirmed is done with: the lease is held, and for that server.

        Where it is for another, idle connections are given up, so that the next leads there.
        """
        grant = self._grant
        if clock() >= grant.deadline:
            return False
        if grant.server != server:
            client.forget_idle_connections()
        return grant.server == server

    def required(self, operation: str) -> str:
        """Return the server of the lease. Raises Untrusted where it is not held."""
        grant = self._grant
        if clock() >= grant.deadline:
            self.ensure_started()
            grant = self._grant
            if clock() >= grant.deadline:
                raise Untrusted(operation)
        return grant.server

    def ensure_started(self) -> None:
        """Where this process does not take part yet, start, and wait for the first look."""
        if not self.is_started:
            self.start()
            self._looked.wait(_FIRST_SECONDS)

    def start(self) -> None:
        """Take part in the lease from now on, by a thread; nothing more where one does already."""
        with self._starting:
            if self.is_started:
                return
            self._connection = None  # after a fork it is the parent's
            self._looked.clear()
            self._stopping.clear()
            self._thread = supervise("cache-trust", self._run, stopping=self._stopping)

    def stop(self) -> None:
        """Take part no longer; the next use starts anew."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._forget()

    def wait(self, seconds: float) -> bool:
        """Start, and wait until the lease is held, at most so long; return whether it is."""
        self.start()
        end = clock() + seconds
        while not self.is_held and clock() < end:
            threading.Event().wait(0.01)
        return self.is_held

    def renew(self) -> float:
        """
        Look at the row; renew the lease where little is left of it; return when to look again.

        What is expected to fail is logged once the lease has lapsed.
        """
        pause_seconds = _LOOK_SECONDS
        try:
            if not self._look_and_keep():
                pause_seconds = _POSTPONED_SECONDS
        except psycopg.errors.LockNotAvailable:
            pause_seconds = _RETRY_SECONDS  # another keeps, or writers look at the row
        except CacheDown as exc:
            self._reason = str(exc.__cause__ or exc).split("\n")[0]
        except psycopg.Error as exc:
            self._lost(exc)
        self._show()
        return pause_seconds

    def _look_and_keep(self) -> bool:
        """Look, and keep where it is time; return False where that is postponed."""
        began = clock()
        if self._unanswered_since is None:
            self._unanswered_since = began
        connection, row = self._look()
        self._unanswered_since = None
        if row is not None:
            self._take(row, began)
        if row is None or not _KEPT_BELOW_SECONDS <= row.rest_seconds <= _IMPOSSIBLE_SECONDS:
            if row is not None and (
                _POSTPONED_ABOVE_SECONDS < row.rest_seconds < _KEPT_BELOW_SECONDS
            ):
                at_work = connection.execute(_AT_WORK).fetchone()
                if at_work is not None and at_work[0]:
                    return False
            self._keep(connection)
        return True

    def _lost(self, exc: psycopg.Error) -> None:
        """Remember why PostgreSQL renews nothing."""
        self._reason = str(exc).split("\n")[0]
        if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
            self._read_only = True
            self._disconnect()  # a session keeps the default that it began with
            return
        if not isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
            self._unanswered_since = None  # it does reply
        self._disconnect()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                pause_seconds = self.renew()
                self._looked.set()
                self._stopping.wait(pause_seconds * _jitter.uniform(0.8, 1.0))
        finally:
            self._disconnect()

    def _look(self) -> tuple[psycopg.Connection[Any], Row | None]:
        """Return the connection that is in use, and the row."""
        if self._connection is not None:
            try:
                return self._connection, _row(self._connection, _LOOK)
            except psycopg.OperationalError:
                self._disconnect()  # a restart may have broken it
        self._connection = _connect()
        return self._connection, _row(self._connection, _LOOK)

    def _keep(self, connection: psycopg.Connection[Any]) -> None:
        """
        Renew the lease, in one transaction that holds the lock of its row.

        Raises CacheDown where Redis does not confirm; psycopg.Error, LockNotAvailable where
        another has the lock.
        """
        server, _ = _confirming([])  # no transaction waits for a Redis that does not reply
        began = clock()
        with connection.transaction():
            row = _row(connection, _LOCK)
            self._read_only = False
            if row is None or row.rest_seconds > _IMPOSSIBLE_SECONDS:
                connection.execute(_RESET, [LEASE_SECONDS])
                return
            if row.server == server and row.rest_seconds >= _KEPT_BELOW_SECONDS:
                return  # another was faster
            if row.server != server and row.rest_seconds > 0:
                raise Untrusted("another server has the lease")
            tags, is_new_epoch = _to_unlink(connection, same_server=row.server == server)
            confirmed, invalidation = _confirming(tags)
            if confirmed != server:
                raise Untrusted("another server replied")
            # A lease that begins anew ends all copies by itself: see generation.
            if (
                tags
                and row.rest_seconds > 0
                and not invalidation.await_hosts(_ACKNOWLEDGED_SECONDS)
            ):
                raise Untrusted("another host has not acknowledged what was invalidated")
            granted = _row(connection, _GRANT, [LEASE_SECONDS, server])
        metrics.RENEWAL_SECONDS.observe(clock() - began)
        if is_new_epoch:
            metrics.EPOCHS.inc()
            log.warning("Cache starts a new epoch", operation="trust", server=server)
        if granted is not None:
            self._take(granted, began)

    def _take(self, row: Row, began: float) -> None:
        """Believe a round that was not seen before. began: the clock before it was read."""
        if row.round == self._round or row.rest_seconds > _IMPOSSIBLE_SECONDS:
            return  # its end was computed when it was new; now the server's clock may be another
        self._round = row.round
        self._read_only = False  # somebody has written it
        deadline = began + min(LEASE_SECONDS, row.rest_seconds) * (1 - _CLOCK_ERROR)
        now = clock()
        if deadline <= now or not row.server:
            return
        if now >= self.deadline or row.server != self._grant.server:
            self._when_begun()
        self._grant = Grant(deadline, row.server)
        self.deadline = deadline

    def _show(self) -> None:
        """Log and count a change, once."""
        is_held = self.is_held
        if is_held == self._shown:
            return
        self._shown = is_held
        metrics.lease_changed(is_held)
        if is_held:
            log.warning("Cache trusted", operation="trust", state="held", server=self._grant.server)
        else:
            log.warning("Cache not trusted", operation="trust", state="none", reason=self._reason)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _forget(self) -> None:
        self.deadline = 0.0
        self._grant = Grant(0.0, "")
        self._round = self._unanswered_since = self._shown = None
        self._read_only = False
        self._reason = ""


def _begun() -> None:
    global generation
    generation += 1


lease = Lease(_begun)


class _Local(threading.local):
    is_verified = True


_local = _Local()


def holds() -> bool:
    """Return whether what Redis serves may be believed now; what it served before it began, too."""
    return clock() < lease.deadline


def execute(operation: str, command: Callable[[redis.Redis], T]) -> T:
    """
    Run a command whose reply is to be believed: under the lease, and on its server.

    Raises CacheDown; Untrusted where there is no lease. Where that is so because PostgreSQL does
    not answer, the command is run nevertheless, and is_verified says so afterwards.
    """
    if client.breaker.is_open:
        raise CacheDown(operation)
    try:
        server: str | None = lease.required(operation)
    except Untrusted:
        if not lease.is_unverifiable:
            raise
        server = None
    _local.is_verified = server is not None
    return client.execute(operation, command, server=server)


def is_verified() -> bool:
    """Return whether the last reply to this thread came under the lease."""
    return _local.is_verified


def rest_seconds() -> float | None:
    """
    Return how long any process may still have a lease, for a writer after its commit.

    The lock puts this look before a keeper's, which then sees the writer's row, or after its
    commit, and then this sees what it granted. None: PostgreSQL does not tell.
    """
    try:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '200ms'")
            cursor.execute(_SHARE)
            row = cursor.fetchone()
    except (DatabaseError, InterfaceError):
        return None
    return None if row is None else float(row[0])


def _row(
    connection: psycopg.Connection[Any], statement: str, values: Sequence[Any] = ()
) -> Row | None:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else Row(*row)


def _to_unlink(connection: psycopg.Connection[Any], *, same_server: bool) -> tuple[list[str], bool]:
    """Return the tags to unlink, and whether they are those of all namespaces: a new epoch."""
    rows = connection.execute(_ROWS, [_ROWS_MAX + 1]).fetchall()
    tags = {tag for (tags,) in rows for tag in tags}
    is_new_epoch = not same_server or len(rows) > _ROWS_MAX or len(tags) > _TAGS_MAX
    if is_new_epoch:
        tags = {namespace.tag for namespace in declared()}
    return sorted(tags), is_new_epoch


def _confirming(tags: Sequence[str]) -> tuple[str, hosts.Invalidation]:
    """
    Unlink the tags; return the server that did, and what other hosts have yet to acknowledge.

    All by one pipeline. Raises CacheDown.
    """
    invalidation = hosts.Invalidation(tags)

    def pipeline(r: redis.Redis) -> list[Any]:
        pipe = r.pipeline(transaction=False)
        invalidation.add_to(pipe)
        for section in server_identity.SECTIONS:
            pipe.info(section)
        return pipe.execute()

    register, server, replication = client.execute("keep", pipeline, past_breaker=True)
    try:
        name = server_identity.identity_of((server, replication))
    except redis.ConnectionError as exc:
        raise CacheDown("keep") from exc
    if name != client.replied():  # it was made another since the connection was made
        client.forget_idle_connections()
    invalidation.judge(register, slots.overwrite(tags))
    return name, invalidation


def _connect() -> psycopg.Connection[Any]:
    """
    Return a connection outside of the pool: that one may be exhausted, and the lease must not end.

    It has the deadline of the pool's connections, where there is a pool.
    """
    parameters = connections[session_alias()].get_connection_params()
    pool = connections[DEFAULT_DB_ALIAS].settings_dict["OPTIONS"].get("pool", {})
    kind: type[psycopg.Connection[Any]] = pool.get("connection_class", psycopg.Connection)
    options = f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_MS}"
    connection = kind.connect(
        **parameters
        | KEEPALIVES
        | {
            "application_name": f"{config().NAME} lease",
            "options": f"{parameters.get('options', '')} {options}".strip(),
            "autocommit": True,
        }
    )
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection
