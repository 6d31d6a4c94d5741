"""The faults that can be injected into a site of several workers, each by real means and each taken back at its end."""

import random
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import redis

from config.stack.process import StackError, free_port, is_paused, wait_until
from config.stack.redis import Redis
from config.stack.site import is_answering
from loadtests.testbed.proxy import Mode
from loadtests.testbed.workers import Worker, Workers, arguments_of

LATENCY_MS: Final = 300.0
_SYNCHRONISED_SECONDS: Final = 10.0
_SPRUNG_SECONDS: Final = 4.0
_WRITE_COMMANDS: Final = ("-@write", "-unlink", "-unlink -set -evalsha -eval")
_USUAL_MEMORY: Final = {"maxmemory": "256mb", "maxmemory-policy": "allkeys-lru"}
_RELAY_LEADER: Final = """
    SELECT client_port FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND application_name = 'trilith relay'"""
_KEEPER: Final = """
    SELECT client_port FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE relation = to_regclass('cachelayer_trust') AND mode = 'RowShareLock' AND granted"""

_Injection = Generator[str, None, None]  # its variant, as a word or two


@dataclass(frozen=True)
class Fault:
    """One kind of fault: what it is called, what does it, and how many seconds it may last."""

    name: str
    inject: Callable[[Workers, random.Random], AbstractContextManager[str]]
    least_seconds: float
    most_seconds: float


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


# --- Redis as a whole -----------------------------------------------------------------------------


@contextmanager
def nothing(site: Workers, rng: random.Random) -> _Injection:
    """Inject nothing: what the others are compared with."""
    yield ""


@contextmanager
def redis_killed(site: Workers, rng: random.Random) -> _Injection:
    """Kill Redis; start it again, empty."""
    site.stack.kill("redis")
    try:
        yield ""
    finally:
        site.stack.start("redis")


@contextmanager
def redis_paused(site: Workers, rng: random.Random) -> _Injection:
    """Stop Redis, which then answers what it was sent meanwhile."""
    site.stack.pause("redis")
    try:
        yield ""
    finally:
        site.stack.resume("redis")


@contextmanager
def redis_flapping(site: Workers, rng: random.Random) -> _Injection:
    """Cut all workers off and connect them again, several times a second."""
    over = threading.Event()
    moments = random.Random(rng.random())  # noqa: S311  # to be repeatable

    def flap() -> None:
        while not over.is_set():
            mode = moments.choice(_CUTS)
            for worker in site.workers:
                site.proxies.impair(worker.redis, mode=mode)
            over.wait(moments.uniform(0.05, 0.4))
            for worker in site.workers:
                site.proxies.impair(worker.redis)
            over.wait(moments.uniform(0.05, 0.4))

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield ""
    finally:
        over.set()
        thread.join()


@contextmanager
def redis_slow(site: Workers, rng: random.Random) -> _Injection:
    """Delay each request to Redis by LATENCY_MS, or by less than the client waits."""
    delay_ms = rng.choice((LATENCY_MS, LATENCY_MS, 60.0))
    for worker in site.workers:
        site.proxies.impair(worker.redis, delay_ms=delay_ms)
    try:
        yield f"{delay_ms:g} ms"
    finally:
        for worker in site.workers:
            site.proxies.impair(worker.redis)


# --- Redis reads and does not write -----------------------------------------------------------------


@contextmanager
def writes_refused_for_replicas(site: Workers, rng: random.Random) -> _Injection:
    """Require a replica that is not there: NOREPLICAS."""
    with site.redis() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            yield ""
        finally:
            client.config_set("min-replicas-to-write", 0)


@contextmanager
def writes_refused_by_rights(site: Workers, rng: random.Random) -> _Injection:
    """Take the site's right to write, or to UNLINK alone: NOPERM."""
    user = urlsplit(site.stack.urls()["REDIS_URL"]).username or ""
    rights = rng.choice(_WRITE_COMMANDS)
    with site.redis() as client:
        client.execute_command("ACL", "SETUSER", user, *rights.split())
        try:
            yield rights
        finally:
            client.acl_load()


@contextmanager
def writes_held(site: Workers, rng: random.Random) -> _Injection:
    """Have Redis answer no write, and do them all at the end."""
    with site.redis() as client:
        client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            yield ""
        finally:
            client.client_unpause()


@contextmanager
def writes_refused_after_failed_save(site: Workers, rng: random.Random) -> _Injection:
    """Have a snapshot fail, since a folder has its name: MISCONF."""
    with site.redis() as client:
        folder = site.stack.folder / "redis" / str(client.config_get("dbfilename")["dbfilename"])
        folder.unlink(missing_ok=True)
        folder.mkdir()
        try:
            client.config_set("save", "3600 1")
            client.bgsave()
            _await_saves(client, "err")
            yield ""
        finally:
            folder.rmdir()
            client.config_set("save", "")
            client.bgsave()
            _await_saves(client, "ok")


def _await_saves(client: redis.Redis, status: str) -> None:
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == status, 5)


@contextmanager
def redis_demoted(site: Workers, rng: random.Random) -> _Injection:
    """Make Redis the replica of a server that is not there, as Sentinel does: READONLY."""
    with site.redis() as client:
        _demote(client, free_port())
        try:
            yield ""
        finally:
            client.replicaof("NO", "ONE")


def _demote(client: redis.Redis, port: int) -> None:
    # A primary that becomes a replica disconnects its clients, at once: docs/adr/0020.
    pipe: Any = client.pipeline(transaction=True)
    pipe.replicaof("127.0.0.1", str(port))
    pipe.client_kill_filter(_type="normal", skipme=True)
    pipe.client_kill_filter(_type="pubsub")
    pipe.execute()


@contextmanager
def memory_full(site: Workers, rng: random.Random) -> _Injection:
    """Leave no room, and evict nothing: OOM for what needs some."""
    with site.redis() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        try:
            yield ""
        finally:
            _restore_memory(client)


def _restore_memory(client: redis.Redis) -> None:
    for name, value in _USUAL_MEMORY.items():
        client.config_set(name, value)


# --- Redis loses keys ---------------------------------------------------------------------------------


@contextmanager
def redis_flushed(site: Workers, rng: random.Random) -> _Injection:
    """Delete everything, once."""
    with site.redis() as client:
        client.flushall()
    yield ""


@contextmanager
def keys_lost(site: Workers, rng: random.Random) -> _Injection:
    """Evict for want of memory, and delete random keys and all leases of loads."""
    with site.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", used - 20_000)
        try:
            lost = [name for _ in range(20) if (name := client.randomkey())]
            lost += list(client.scan_iter("*lease:*"))
            if lost:
                client.unlink(*lost)
            yield ""
        finally:
            _restore_memory(client)


# --- one worker alone -----------------------------------------------------------------------------------

_CUTS: Final[tuple[Mode, ...]] = ("refuse", "hold", "deafen")


@contextmanager
def worker_cut_off(site: Workers, rng: random.Random) -> _Injection:
    """Cut one worker off from Redis."""
    with _cut(site, rng.choice(site.workers), rng.choice(_CUTS)) as variant:
        yield variant


@contextmanager
def leader_cut_off(site: Workers, rng: random.Random) -> _Injection:
    """Cut the worker off from Redis that delivers the outbox for all."""
    with _cut(site, leader(site) or rng.choice(site.workers), rng.choice(_CUTS)) as variant:
        yield variant


@contextmanager
def _cut(site: Workers, worker: Worker, mode: Mode) -> _Injection:
    site.proxies.impair(worker.redis, mode=mode)
    try:
        yield f"worker {worker.number}, {mode}"
    finally:
        site.proxies.impair(worker.redis)


def leader(site: Workers) -> Worker | None:
    """Return the worker that leads the relay, None where none does at the moment."""
    return _owner(site, _RELAY_LEADER)


def _owner(site: Workers, query: str) -> Worker | None:
    with site.postgres() as connection:
        row = connection.execute(query).fetchone()
    return site.owner_of(int(row[0])) if row else None


@contextmanager
def worker_without_postgres(site: Workers, rng: random.Random) -> _Injection:
    """Cut one worker off from PostgreSQL."""
    worker, mode = rng.choice(site.workers), rng.choice(_CUTS)
    site.proxies.impair(worker.postgres, mode=mode)
    try:
        yield f"worker {worker.number}, {mode}"
    finally:
        site.proxies.impair(worker.postgres)


@contextmanager
def worker_stopped(site: Workers, rng: random.Random) -> _Injection:
    """Stop one worker at any moment."""
    with _stopped(rng.choice(site.workers)) as variant:
        yield variant


@contextmanager
def _stopped(worker: Worker) -> _Injection:
    process = worker.process()
    process.suspend()
    try:
        yield f"worker {worker.number}"
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


@contextmanager
def worker_stopped_in_write(site: Workers, rng: random.Random) -> _Injection:
    """Stop one worker between the commit of a write and its UNLINK."""
    with _sprung(rng.choice(site.workers), "unlink") as variant:
        yield variant


@contextmanager
def worker_stopped_in_load(site: Workers, rng: random.Random) -> _Injection:
    """Stop one worker between the load of a value and its storing."""
    with _sprung(rng.choice(site.workers), "store") as variant:
        yield variant


@contextmanager
def _sprung(worker: Worker, hook: str) -> _Injection:
    process = worker.process()
    arm(worker, hook, "stop")
    sprung = wait_until(lambda: is_paused(process), _SPRUNG_SECONDS)
    try:
        yield f"worker {worker.number}" if sprung else "nothing to stop at"
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()
        arm(worker, hook, "nothing")


def arm(worker: Worker, hook: str, action: str) -> None:
    """Have the worker send itself a signal: see loadtests.testbed.instrumented_wsgi."""
    is_answering(worker.url, f"/arm/{hook}/{action}")


@contextmanager
def keeper_stopped(site: Workers, rng: random.Random) -> _Injection:
    """Stop a worker while it renews the lease, which is made to take longer for this."""
    for worker in site.workers:
        site.proxies.impair(worker.redis, delay_ms=40.0)
    keeper: list[Worker] = []

    def seen() -> bool:
        keeper.extend(filter(None, [_owner(site, _KEEPER)]))
        if keeper:
            keeper[0].process().send_signal(signal.SIGSTOP)
        return bool(keeper)

    wait_until(seen, _SPRUNG_SECONDS)
    for worker in site.workers:
        site.proxies.impair(worker.redis)
    with _stopped(keeper[0] if keeper else rng.choice(site.workers)) as variant:
        yield variant if keeper else f"no keeper seen, {variant}"


@contextmanager
def worker_killed(site: Workers, rng: random.Random) -> _Injection:
    """Kill one worker between the commit of a write and its UNLINK."""
    worker = rng.choice(site.workers)
    process = worker.process()
    arm(worker, "unlink", "kill")
    if not wait_until(lambda: not process.is_running(), _SPRUNG_SECONDS):
        process.kill()
    yield f"worker {worker.number}"


# --- the first level ---------------------------------------------------------------------------------------


def listeners(site: Workers) -> list[psutil.Process]:
    """Return the processes that listen for what is invalidated elsewhere: one for the host, if any."""
    return [
        process
        for worker in site.workers
        for process in psutil.Process(worker.pid).children(recursive=True)
        if "cachelayer.listener" in arguments_of(process)
    ]


@contextmanager
def listener_killed(site: Workers, rng: random.Random) -> _Injection:
    """Kill the listener, which a worker starts again."""
    running = listeners(site)
    for process in running:
        process.kill()
    yield "" if running else "no listener runs"


@contextmanager
def listener_stopped(site: Workers, rng: random.Random) -> _Injection:
    """Stop the listener."""
    running = listeners(site)
    for process in running:
        process.suspend()
    try:
        yield "" if running else "no listener runs"
    finally:
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@contextmanager
def slots_lost(site: Workers, rng: random.Random) -> _Injection:
    """Delete the file by which the workers invalidate each other's copies."""
    files = list((site.stack.folder / "slots").glob("*.slots"))
    for file in files:
        file.unlink()
    yield "" if files else "there is no file"


# --- two servers at once ----------------------------------------------------------------------------------


@contextmanager
def replica_promoted(site: Workers, rng: random.Random) -> _Injection:
    """
    Promote a replica while the old primary goes on answering; move some workers to it, later all.

    At the end all come back to the old primary, whose data is old by then.
    """
    folder = site.stack.folder / "replica"
    passwords = {
        name: urlsplit(url["REDIS_URL"]).password or ""
        for name, url in (
            ("redis", site.stack.urls()),
            ("redis_operator", site.stack.operator_urls()),
        )
    }
    replica = Redis(folder, free_port(), passwords)
    moved = rng.sample(site.workers, rng.randint(1, len(site.workers) - 1))
    primary = urlsplit(site.stack.urls()["REDIS_URL"]).port or 0
    replica.start()
    try:
        with redis.Redis.from_url(replica.operator_url, decode_responses=True) as client:
            client.config_set("masteruser", "operator")
            client.config_set("masterauth", passwords["redis_operator"])
            client.replicaof("127.0.0.1", str(primary))
            if not wait_until(lambda: _follows(client), _SYNCHRONISED_SECONDS):
                raise StackError("the replica does not follow its primary")
            client.replicaof("NO", "ONE")
        for worker in moved:
            site.proxies.divert(worker.redis, replica.port)
        yield f"workers {sorted(worker.number for worker in moved)} moved first"
        for worker in site.workers:
            site.proxies.divert(worker.redis, replica.port)
        _sleep(rng.uniform(0.2, 3.0))
    finally:
        for worker in site.workers:
            site.proxies.divert(worker.redis, primary)
        replica.stop()


def _follows(client: redis.Redis) -> bool:
    return bool(client.info("replication").get("master_link_status") == "up")


# --- PostgreSQL -------------------------------------------------------------------------------------------


@contextmanager
def postgres_paused(site: Workers, rng: random.Random) -> _Injection:
    """Stop PostgreSQL."""
    site.stack.pause("postgres")
    try:
        yield ""
    finally:
        site.stack.resume("postgres")


@contextmanager
def postgres_killed(site: Workers, rng: random.Random) -> _Injection:
    """Kill PostgreSQL, which recovers when it is started again."""
    site.stack.kill("postgres")
    try:
        yield ""
    finally:
        site.stack.start("postgres")


# --- MongoDB ----------------------------------------------------------------------------------------------


@contextmanager
def mongodb_paused(site: Workers, rng: random.Random) -> _Injection:
    """Stop MongoDB."""
    site.stack.pause("mongodb")
    try:
        yield ""
    finally:
        site.stack.resume("mongodb")


@contextmanager
def mongodb_killed(site: Workers, rng: random.Random) -> _Injection:
    """Kill MongoDB, which recovers when it is started again."""
    site.stack.kill("mongodb")
    try:
        yield ""
    finally:
        site.stack.start("mongodb")


# --- several ----------------------------------------------------------------------------------------------


@contextmanager
def two_at_once(site: Workers, rng: random.Random) -> _Injection:
    """Let something befall Redis as a whole, and a worker meanwhile."""
    of_redis, of_worker = rng.choice(_OF_REDIS), rng.choice(_OF_WORKERS)
    with of_redis(site, rng), of_worker(site, rng) as variant:
        yield f"{of_redis.__name__}, {of_worker.__name__}, {variant}"


_OF_REDIS: Final = (
    redis_killed,
    redis_paused,
    writes_refused_by_rights,
    writes_held,
    redis_flushed,
)
_OF_WORKERS: Final = (
    worker_cut_off,
    worker_without_postgres,
    worker_stopped,
    worker_stopped_in_write,
    worker_stopped_in_load,
    worker_killed,
)

FAULTS: Final = (
    Fault("nothing", nothing, 1.0, 2.0),
    Fault("Redis killed", redis_killed, 0.2, 4.0),
    Fault("Redis paused", redis_paused, 0.2, 10.0),
    Fault("Redis flapping", redis_flapping, 1.5, 4.0),
    Fault("Redis 300 ms away", redis_slow, 1.0, 4.0),
    Fault("writes refused: NOREPLICAS", writes_refused_for_replicas, 0.5, 5.0),
    Fault("writes refused: NOPERM", writes_refused_by_rights, 0.5, 5.0),
    Fault("writes refused: MISCONF", writes_refused_after_failed_save, 0.5, 5.0),
    Fault("writes refused: READONLY", redis_demoted, 0.5, 5.0),
    Fault("writes held: CLIENT PAUSE", writes_held, 0.5, 5.0),
    Fault("memory full", memory_full, 0.5, 5.0),
    Fault("FLUSHALL", redis_flushed, 0.0, 0.5),
    Fault("evictions", keys_lost, 0.5, 1.5),
    Fault("one worker cut off from Redis", worker_cut_off, 0.5, 5.0),
    Fault("the relay's leader cut off", leader_cut_off, 0.5, 5.0),
    Fault("one worker cut off from PostgreSQL", worker_without_postgres, 0.5, 4.0),
    Fault("worker stopped", worker_stopped, 2.0, 5.0),
    Fault("worker stopped before UNLINK", worker_stopped_in_write, 2.0, 5.0),
    Fault("worker stopped before storing", worker_stopped_in_load, 2.0, 5.0),
    Fault("worker stopped keeping the lease", keeper_stopped, 2.0, 5.0),
    Fault("worker killed before UNLINK", worker_killed, 0.5, 1.0),
    Fault("listener killed", listener_killed, 0.3, 1.0),
    Fault("listener stopped", listener_stopped, 0.5, 4.0),
    Fault("file of slots deleted", slots_lost, 0.3, 1.0),
    Fault("replica promoted", replica_promoted, 0.5, 4.0),
    Fault("PostgreSQL paused", postgres_paused, 2.0, 2.0),
    Fault("PostgreSQL killed", postgres_killed, 0.5, 2.0),
    Fault("MongoDB paused", mongodb_paused, 0.5, 2.0),
    Fault("MongoDB killed", mongodb_killed, 0.5, 2.0),
    Fault("two at once", two_at_once, 0.5, 4.0),
)


def fault_named(name: str) -> Fault:
    """Return the fault of this name."""
    return next(fault for fault in FAULTS if fault.name == name)
