"""
TCP proxies between a process of the site and its servers, to cut off, slow down or divert that process alone.

They run in a process of their own, so that a busy test does not delay what they forward. It is
controlled by lines of JSON on its standard input, each confirmed by a line on its output, and
ends with its input.
"""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal

from config.stack import ROOT
from config.stack.process import die_with_parent, free_port

# refuse: connections are closed, and new ones refused. hold: bytes wait, and arrive late, once that
# ends. deafen: requests arrive, replies wait.
Mode = Literal["pass", "refuse", "hold", "deafen"]
_LOOPBACK: Final = "127.0.0.1"


class Proxies:
    """The proxies of one process, by name, as seen by whoever controls them."""

    def __init__(self, process: "subprocess.Popen[str]", ports: Mapping[str, int]) -> None:
        self._process = process
        self._lock = threading.Lock()
        self.ports = ports

    def impair(self, name: str, *, mode: Mode = "pass", delay_ms: float = 0.0) -> None:
        """Have a proxy behave so from now on; delay_ms is added to each request."""
        self._command(name=name, do="impair", mode=mode, delay_ms=delay_ms)

    def divert(self, name: str, port: int) -> None:
        """Connect a proxy to another port from now on, and close the connections it has."""
        self._command(name=name, do="divert", port=port)

    def upstream_ports(self, name: str) -> set[int]:
        """Return the local ports of a proxy's connections to its server, by which that knows them."""
        return set(self._command(name=name, do="ports"))

    def _command(self, **command: Any) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the proxies were started without pipes")
        with self._lock:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of the proxies is gone")
        return json.loads(line)


@contextmanager
def running_proxies(targets: Mapping[str, int]) -> Iterator[Proxies]:
    """Start one proxy per name to a port of 127.0.0.1; yield them; end them."""
    ports: dict[str, int] = {}
    for name in targets:
        port = free_port()
        while port in ports.values():
            port = free_port()
        ports[name] = port
    plan = {name: [ports[name], target] for name, target in targets.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.testbed.proxy", json.dumps(plan)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )
    with process:
        proxies = Proxies(process, ports)
        try:
            for name in targets:
                proxies.impair(name)  # confirmed once all listen
            yield proxies
        finally:
            process.kill()


class _Proxy:
    """One listening port, its server's port, and the connections between."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._delay_seconds = 0.0
        self._requests_pass, self._replies_pass = asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._upstreams: set[asyncio.StreamWriter] = set()

    async def impair(self, mode: Mode, delay_ms: float) -> None:
        self._delay_seconds = delay_ms / 1000
        for event, passes in (
            (self._requests_pass, mode != "hold"),
            (self._replies_pass, mode not in ("hold", "deafen")),
        ):
            event.set() if passes else event.clear()
        if mode == "refuse":
            await self._refuse()
        elif self._server is None:
            self._server = await asyncio.start_server(self._connected, _LOOPBACK, self._port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    def divert(self, port: int) -> None:
        self._target = port
        self.reset()

    def reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def ports(self) -> list[int]:
        return [writer.get_extra_info("sockname")[1] for writer in self._upstreams]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection(_LOOPBACK, self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, up_writer}
        self._writers |= pair
        self._upstreams.add(up_writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up_writer, self._requests_pass, delays=True))
                both.create_task(self._pump(up_reader, writer, self._replies_pass))
        finally:
            self._writers -= pair
            self._upstreams.discard(up_writer)
            for end in pair:
                end.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: asyncio.Event,
        *,
        delays: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if delays and self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                await passes.wait()
                writer.write(data)
                await writer.drain()
        writer.close()  # the other direction ends with it


async def _serve(plan: Mapping[str, tuple[int, int]]) -> None:
    proxies = {name: _Proxy(port, target) for name, (port, target) in plan.items()}
    for proxy in proxies.values():
        await proxy.impair("pass", 0.0)
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command = json.loads(line)
        proxy = proxies[command["name"]]
        reply: object = None
        if command["do"] == "impair":
            await proxy.impair(command["mode"], command["delay_ms"])
        elif command["do"] == "divert":
            proxy.divert(command["port"])
        else:
            reply = proxy.ports()
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
