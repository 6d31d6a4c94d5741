"""
What the lab's servers hold besides data: schema, triggers, indexes, settings.

A snapshot before and one after each experiment show what it did not restore. One is kept between
runs and shows what a killed run left behind.
"""

import json
from pathlib import Path
from typing import Final

import psycopg
import pymongo
import redis

from loadtests.testbed.servers import Servers

Snapshot = dict[str, str]
_QUERIES: Final = {
    "index": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "column": """
        SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "trigger": """
        SELECT concat_ws('.', tgrelid::regclass, tgname), concat_ws(' ', tgenabled, pg_get_triggerdef(oid))
        FROM pg_trigger WHERE NOT tgisinternal""",
    "constraint": """
        SELECT concat_ws('.', conrelid::regclass, conname), pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace""",
    "function": """
        SELECT oid::regprocedure::text, md5(prosrc)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    "table options": """
        SELECT relname, concat_ws(' ', relkind, relpersistence, reloptions)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm')""",
    "setting of PostgreSQL": """
        SELECT concat_ws(' in line ', name, sourceline), concat_ws(' ', sourcefile, setting)
        FROM pg_file_settings""",
    "setting of a role or database": """
        SELECT concat_ws('/', setrole::regrole, setdatabase), setconfig::text
        FROM pg_db_role_setting""",
}
_CREATED_BY_THE_SITE: Final = {"change_stream_tokens"}  # as it runs, not by a migration
_REDIS_SETTINGS: Final = (
    "maxmemory*",
    "save",
    "appendonly",
    "slowlog-*",
    "latency-*",
    "notify-keyspace-events",
    "timeout",
    "maxclients",
)


def snapshot(servers: Servers) -> Snapshot:
    """Return the condition of the servers, all of which run."""
    urls = servers.stack.operator_urls()
    return {
        **_of_postgres(urls["DATABASE_URL"]),
        **_of_redis(urls["REDIS_URL"]),
        **_of_mongodb(urls["MONGODB_URI"]),
    }


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what was changed, removed or added, one line each."""
    lines = []
    for name in sorted({*before, *after}):
        if name not in after:
            lines.append(f"{name} is gone")
        elif name not in before:
            lines.append(f"{name} is new")
        elif before[name] != after[name]:
            lines.append(f"{name} was changed")
    return lines


def save(snapshot: Snapshot, file: Path) -> None:
    """Save a snapshot for the next run."""
    file.write_text(json.dumps(snapshot, indent=1))


def load(file: Path) -> Snapshot | None:
    """Return the saved snapshot; None where there is none, or it cannot be read."""
    try:
        snapshot = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return snapshot if isinstance(snapshot, dict) else None


def _of_postgres(url: str) -> Snapshot:
    state = {}
    with psycopg.connect(url) as connection:
        for kind, query in _QUERIES.items():
            for name, definition in connection.execute(query):
                state[f"{kind} {name}"] = str(definition)
    return state


def _of_redis(url: str) -> Snapshot:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        settings = client.config_get(*_REDIS_SETTINGS)
    return {f"setting of Redis {name}": str(value) for name, value in settings.items()}


def _of_mongodb(url: str) -> Snapshot:
    state = {}
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        for list_collection in database.list_collections():
            name = str(list_collection["name"])
            if name.startswith("system.") or name in _CREATED_BY_THE_SITE:
                continue
            state[f"collection {name}"] = str(list_collection.get("options"))
            for index in database[name].list_indexes():
                state[f"index {name}.{index['name']}"] = str(dict(index))
        state["profiling level of MongoDB"] = str(database.command("profile", -1)["was"])
    return state
