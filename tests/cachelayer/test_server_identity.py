"""The identity of a Redis server: the same from each form of its replies, and of no replica."""

import pytest
import redis

from cachelayer.server_identity import COMMANDS, identity_of


def replies(*, role: str) -> list[bytes]:
    return [
        b"# Server\r\nredis_version:7.2.0\r\nrun_id:abc\r\n",
        f"# Replication\r\nrole:{role}\r\nmaster_replid:def\r\n".encode(),
    ]


def test_is_the_same_from_replies_as_received_and_as_parsed(redis_client):
    parsed = [redis_client.execute_command(*command) for command in COMMANDS]
    connection = redis_client.connection_pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands(COMMANDS))
        received = [connection.read_response() for _ in COMMANDS]
    finally:
        redis_client.connection_pool.release(connection)

    assert isinstance(received[0], bytes)
    assert isinstance(parsed[0], dict)
    assert identity_of(received) == identity_of(parsed) == connection.server


def test_a_reply_that_nobody_has_read_is_not_taken_for_the_next(redis_client):
    """Such a connection is what an interruption between a command and its reply leaves in the pool."""
    pool = redis_client.connection_pool
    connection = pool.get_connection()
    connection.send_command("ECHO", "of an earlier command")
    assert connection.can_read(timeout=30)
    pool.release(connection)

    assert redis_client.echo("of this command") == b"of this command"


def test_is_one_run_and_one_history_of_the_data():
    assert identity_of(replies(role="master")) == "abc:def"
    assert identity_of(part.decode() for part in replies(role="master")) == "abc:def"


def test_a_replica_is_refused():
    with pytest.raises(redis.ConnectionError, match="the server is no primary, but slave"):
        identity_of(replies(role="slave"))
