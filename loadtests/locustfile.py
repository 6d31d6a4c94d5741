"""
Simulated users for locust: readers, writers, mixed ones, and those of profiles and of activity.

python -m loadtests load starts a site for them. By hand, against a site that runs:
locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless --users 20 [CLASS ...]
Locust counts a request's time from when it was sent, and a user waits for each answer: figures
of latency are python -m loadtests bench's. What is judged here is whether the site keeps up.
"""

import random
import sys
import uuid
from itertools import accumulate
from typing import Any, ClassVar, Final

from gevent.lock import Semaphore
from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.generators.http_load import address

NOTES: Final = 1_000  # the ids that readers know
_PAGE: Final = 100
_OWN_USERS: Final = "load-"  # how the ids of users begin that write
_USERS: Final = 200  # abc and user-001 to user-199, whom the site that load starts knows
_weights: Final = list(accumulate(1 / rank for rank in range(1, NOTES + 1)))


@events.init_command_line_parser.add_listener
def _declare(parser: LocustArgumentParser, **_: Any) -> None:
    parser.add_argument(
        "--fail-ratio", type=float, default=0.01, help="greatest share of failed requests"
    )
    parser.add_argument(
        "--p95-ms", type=float, default=500.0, help="greatest 95th percentile of all requests"
    )
    parser.add_argument("--seed", type=int, default=1, help="of what users choose")
    parser.set_defaults(run_time="60s")  # never without an end


@events.init.add_listener
@events.test_start.add_listener
def _refuse_others(environment: Environment, **_: Any) -> None:
    """Exit with 2 where the host is not this machine."""
    if environment.host is None:
        return  # said on the web page later, and looked at when it starts
    try:
        address(environment.host)
    except ValueError as exc:
        print(exc, file=sys.stderr)
        sys.exit(2)


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    """Print what was ids beside what may be; exit with 1 where it was more."""
    options: Any = environment.parsed_options
    total = environment.stats.total
    p95 = total.get_response_time_percentile(0.95) or 0
    print(
        f"failed: {total.fail_ratio:.2%} of {total.num_requests}, at most {options.fail_ratio:.2%}"
    )
    print(f"p95: {p95:g} ms, at most {options.p95_ms:g} ms")
    broken = environment.runner.exceptions if environment.runner else {}
    for error in broken.values():  # locust goes on, and counts no failure
        print(f"error in the users' own code, {error['count']} times: {error['msg']}")
    holds = total.num_requests > 0 and not broken and total.fail_ratio <= options.fail_ratio
    environment.process_exit_code = 0 if holds and p95 <= options.p95_ms else 1


class _User(FastHttpUser):
    """What all have: a number of their own, choices from the seed, and ids of notes to read."""

    abstract = True
    wait_time = between(0.02, 0.2)
    connection_timeout = 5.0
    network_timeout = 10.0
    _numbers: ClassVar[int] = 0
    _known: ClassVar[list[str]] = []
    _fetching: ClassVar[Semaphore] = Semaphore()

    def on_start(self) -> None:
        _User._numbers += 1
        options: Any = self.environment.parsed_options
        self.rng = random.Random(f"{options.seed} {_User._numbers}")  # noqa: S311
        self.owner = {
            "X-User-Id": f"{_OWN_USERS}{uuid.UUID(int=self.rng.getrandbits(128)).hex[:12]}"
        }

    def read_note(self) -> None:
        """Read one note; which, by Zipf's law: the second half as often as the first, and so on."""
        with _User._fetching:
            known = _User._known or self._fetch_ids()
        if known:
            (note,) = self.rng.choices(known, cum_weights=_weights[: len(known)])
            self.client.get(f"/api/v1/notes/{note}", name="GET /notes/{id}")

    def list_notes(self) -> None:
        """Read the first page of one user's notes."""
        self.client.get(f"/api/v1/notes?userId={self.someone()}", name="GET /notes?userId=")

    def write_note(self) -> None:
        """Create a note, change it, read it, and delete it again."""
        body = {"title": "Load", "content": "x" * self.rng.randint(10, 2_000)}
        created = self.client.post(
            "/api/v1/notes", json=body, headers=self.owner, name="POST /notes"
        )
        if created.status_code != 201:
            return
        path = f"/api/v1/notes/{created.json()['id']}"
        changed = self.client.patch(
            path, json={"title": "Load, changed"}, headers=self.owner, name="PATCH /notes/{id}"
        )
        with self.client.get(path, name="GET /notes/{id}, own", catch_response=True) as read:
            # A completed write that is not seen is a failure, whatever the status.
            if changed.status_code == 200 == read.status_code and read.text != changed.text:
                read.failure("a completed write is not seen")
        self.client.delete(path, headers=self.owner, name="DELETE /notes/{id}")

    def someone(self) -> str:
        """Return a user id of the seeded data; abc as often as all others."""
        number = self.rng.randrange(1, 2 * _USERS)
        return "abc" if number >= _USERS else f"user-{number:03d}"

    def _fetch_ids(self) -> list[str]:
        """Return the ids that readers know, fetched once; none while the site does not answer."""
        ids: list[str] = []
        url = f"/api/v1/notes?cursor=&limit={_PAGE}"
        while url and len(ids) < NOTES:
            page = self.client.get(url, name="GET /notes?cursor= (to begin)")
            if page.status_code != 200:
                return []
            document: Any = page.json()
            ids += [  # without those that a writer will delete
                note["id"]
                for note in document["results"]
                if not note["user_id"].startswith(_OWN_USERS)
            ]
            url = document["next"]
        _User._known = ids[:NOTES]
        return _User._known


class Reader(_User):
    """Reads notes, few of them often; now and then a list."""

    weight = 6

    @task(9)
    def read(self) -> None:
        self.read_note()

    @task(1)
    def read_list(self) -> None:
        self.list_notes()


class Writer(_User):
    """Creates, changes, reads back and deletes notes of its own."""

    weight = 1

    @task
    def write(self) -> None:
        self.write_note()


class Mixed(_User):
    """Reads ten times for each round of writes."""

    weight = 2

    @task(10)
    def read(self) -> None:
        self.read_note()

    @task(1)
    def write(self) -> None:
        self.write_note()


class Profiles(_User):
    """Reads profiles, and changes preferences of one of its own."""

    weight = 1

    def on_start(self) -> None:
        super().on_start()
        user = self.owner["X-User-Id"]
        body = {"user_id": user, "email": f"{user}@example.com"}
        self.client.post("/api/v1/profiles", json=body, headers=self.owner, name="POST /profiles")

    def on_stop(self) -> None:
        """Leave no profile behind."""
        self.client.delete(self._own(), headers=self.owner, name="DELETE /profiles/{id}")

    @task(9)
    def read(self) -> None:
        self.client.get(f"/api/v1/profiles/{self.someone()}", name="GET /profiles/{id}")

    @task(1)
    def change(self) -> None:
        change = {"theme": self.rng.choice(["light", "dark", "system"])}
        self.client.patch(
            f"{self._own()}/preferences",
            json=change,
            headers=self.owner,
            name="PATCH /profiles/{id}/preferences",
        )

    def _own(self) -> str:
        return f"/api/v1/profiles/{self.owner['X-User-Id']}"


class Activity(_User):
    """Looks at what was done: feeds, and counts over them."""

    weight = 1

    @task(4)
    def feed(self) -> None:
        self.client.get(f"/api/v1/activity/{self.someone()}", name="GET /activity/{id}")

    @task(1)
    def recent(self) -> None:
        self.client.get("/api/v1/activity/recent?limit=20")

    @task(1)
    def summary(self) -> None:
        self.client.get(
            f"/api/v1/activity/{self.someone()}/summary", name="GET /activity/{id}/summary"
        )

    @task(1)
    def trend(self) -> None:
        self.client.get("/api/v1/activity/trend?days=7")
