"""
What the lab's servers are like besides their data: schema, triggers, indexes, settings.

It is snapshot before and after each experiment, so that what one does not put back is found, and
kept between runs, so that what a killed one left is found, too.
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
_MADE_BY_THE_SITE: Final = {"change_stream_tokens"}  # as it runs, not by a migration
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
    """Return what is another, gone or new, one line each."""
    told = []
    for name in sorted({*before, *after}):
        if name not in after:
            told.append(f"{name} is gone")
        elif name not in before:
            told.append(f"{name} is new")
        elif before[name] != after[name]:
            told.append(f"{name} is another")
    return told


def save(condition: Snapshot, file: Path) -> None:
    """Keep it for the next run."""
    file.write_text(json.dumps(condition, indent=1))


def load(file: Path) -> Snapshot | None:
    """Return what was kept; None where nothing was, or it cannot be read."""
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _of_postgres(url: str) -> Snapshot:
    found = {}
    with psycopg.connect(url) as connection:
        for kind, query in _QUERIES.items():
            for name, told in connection.execute(query):
                found[f"{kind} {name}"] = str(told)
    return found


def _of_redis(url: str) -> Snapshot:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        settings = client.config_get(*_REDIS_SETTINGS)
    return {f"setting of Redis {name}": str(value) for name, value in settings.items()}


def _of_mongodb(url: str) -> Snapshot:
    found = {}
    with pymongo.MongoClient[dict[str, object]](url) as client:
        database = client.get_default_database()
        for one in database.list_collections():
            name = str(one["name"])
            if name.startswith("system.") or name in _MADE_BY_THE_SITE:
                continue
            found[f"collection {name}"] = str(one.get("options"))
            for index in database[name].list_indexes():
                found[f"index {name}.{index['name']}"] = str(dict(index))
        found["profiling level of MongoDB"] = str(database.command("profile", -1)["was"])
    return found
