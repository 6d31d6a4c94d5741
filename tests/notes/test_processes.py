"""A list page that a write has invalidated is loaded once over all processes."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest
from django.db import connection

from config.stack import ROOT
from config.stack.process import wait_until
from tests.builders import make_note, make_notes

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES = 3
# Reads the page once all processes are ready; prints how it was answered, and its own loads.
READER = """
import sys, threading, django
django.setup()
from cachelayer import client, trust
from notes import selectors
from notes.paging import PageQuery

loads, load = [], selectors.load_list

def slow(query):
    loads.append(query)
    threading.Event().wait(0.5)  # so that all of them come while it is loaded
    return load(query)

selectors.load_list = slow
assert trust.lease.wait(20)
redis, prefix = client.client(), sys.argv[1]
redis.incr(f"{prefix}:ready")
while not redis.exists(f"{prefix}:go"):
    threading.Event().wait(0.005)
cached = selectors.note_list_read(query=PageQuery()).get()
print(cached.source.value, len(loads), len(cached.value.body))
"""


def test_an_invalidated_page_is_loaded_once_over_all_processes(api, settings, redis_client):
    make_notes(30)
    api.get("/api/v1/notes")
    make_note(title="This one ends the page")
    database = (
        os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{connection.settings_dict['NAME']}"
    )
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database,
        "CACHE_PREFIX": settings.CACHELAYER["PREFIX"],
        "CACHE_SLOTS_DIR": settings.CACHELAYER["SLOTS_DIR"],
    }
    with ExitStack() as running:
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, settings.CACHELAYER["PREFIX"]],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        for reader in readers:
            running.enter_context(reader)
            running.callback(reader.kill)
        ready = f"{settings.CACHELAYER['PREFIX']}:ready"
        assert wait_until(lambda: int(redis_client.get(ready) or 0) == PROCESSES, 60)

        redis_client.set(f"{settings.CACHELAYER['PREFIX']}:go", 1, ex=60)
        replies = [reader.communicate(timeout=60)[0].split() for reader in readers]

    assert sum(int(loads) for _, loads, _ in replies) == 1
    assert len({body for _, _, body in replies}) == 1
