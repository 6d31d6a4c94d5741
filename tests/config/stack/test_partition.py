"""Partitions between nodes: what is refused, and the rules that nft is given."""

import socket

import psutil
import pytest

from config.stack import process
from config.stack.__main__ import main
from config.stack.cluster import partition
from config.stack.process import StackError

ONE, OTHER = partition.Side(61_001, [7001], []), partition.Side(61_002, [7002, 7003], [])


@pytest.fixture
def scripts(monkeypatch) -> list[str]:
    """What nft was given."""
    given: list[str] = []
    monkeypatch.setattr(partition, "_run", given.append)
    return given


class TestCut:
    def test_drops_what_each_sends_to_the_ports_of_the_other(self, scripts):
        partition.cut("trilith", [(ONE, OTHER)])

        rules = "".join(scripts)
        assert "output meta skgid 61001 tcp dport { 7002, 7003 } drop" in rules
        assert "output meta skgid 61002 tcp dport { 7001 } drop" in rules

    def test_drops_what_is_connected_already_in_both_directions(self, scripts, monkeypatch):
        monkeypatch.setattr(
            partition, "_connected", lambda client, _: {(50_000, 7002)} if client is ONE else set()
        )

        partition.cut("trilith", [(ONE, OTHER)])

        assert "tcp sport 50000 tcp dport 7002 drop" in scripts[-1]
        assert "tcp sport 7002 tcp dport 50000 drop" in scripts[-1]

    def test_without_nft_says_what_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))

        with pytest.raises(StackError, match="apt-get install nftables"):
            partition.cut("trilith", [(ONE, OTHER)])


class TestConnected:
    def test_finds_the_ports_of_open_connections(self):
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as client,
        ):
            port = listener.getsockname()[1]
            this = partition.Side(61_001, [], [psutil.Process()])

            assert partition._connected(this, partition.Side(61_002, [port], [])) == {
                (client.getsockname()[1], port)
            }


class TestCommand:
    @pytest.mark.parametrize("arguments", [["partition", "site-1"], ["heal"]])
    def test_is_of_the_cluster(self, arguments, capsys):
        with pytest.raises(SystemExit):
            main(arguments)

        assert "is of --topology ha" in capsys.readouterr().err

    def test_of_a_cluster_that_never_ran_says_so(self, capsys):
        name = f"none-{process.free_port()}"

        assert main(["--topology", "ha", "--name", name, "partition", "site-1"]) == 1
        assert "it was never started" in capsys.readouterr().err
