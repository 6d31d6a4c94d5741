"""
python -m config.stack: the local servers, from the command line.

--topology ha is the same stores replicated, with several sites behind a balancer (config/stack/cluster).
"""

import argparse
import dataclasses
import json
import shlex
import sys
from typing import Final

from config.stack import VARIABLES, Stack, Status
from config.stack.cluster import SITES_MAX, Cluster, reset, reset_all
from config.stack.process import StackError, ending_with_its_reader

NOT_ALL_RUNNING: Final = 3
_NAMES = {"single": "dev", "ha": "ha"}  # of the stack, by topology
_WHOLE = {
    "up": "start what does not run",
    "down": "stop what runs",
    "status": "say what runs, its version and where it came from; exit status 3 unless all run",
    "env": "print the three URLs as shell exports",
    "reset": "stop, and delete data, passwords and ports",
}
_ROLLING = "rolling-restart"
_HA = {
    _ROLLING: "of topology ha: migrate, then replace one site after the other by the present code",
    "heal": "of topology ha: end every partition",
}
_SINGLE = {
    "start": "start one server",
    "stop": "stop one server in good order",
    "kill": "SIGKILL one server",
    "pause": "SIGSTOP one server: it takes connections and answers nothing",
    "resume": "SIGCONT one server",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.topology == "single" and getattr(options, "server", "redis") not in VARIABLES:
        parser.error(f"there is no server {options.server}; there are {', '.join(VARIABLES)}")
    if options.topology == "single" and options.command in (*_HA, "partition"):
        parser.error(f"{options.command} is of --topology ha")
    name = options.name or _NAMES[options.topology]
    try:
        if options.topology == "ha":
            return _run_ha(Cluster(name, sites=options.sites), options)
        return _run(Stack(name), options)
    except StackError as exc:
        print(f"stack {name}: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stack {name}: interrupted; up goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m config.stack", description=__doc__)
    parser.add_argument("--name", help="which stack of this checkout (default: dev, or ha)")
    parser.add_argument(
        "--topology",
        choices=list(_NAMES),
        default="single",
        help="single: one server of each kind; ha: replicated, with sites and a balancer",
    )
    parser.add_argument(
        "--sites",
        type=int,
        choices=range(SITES_MAX + 1),
        default=2,
        help=f"of topology ha: how many instances of the site, 0 to {SITES_MAX} (default: 2)",
        metavar="N",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (_WHOLE | _HA).items():
        command = commands.add_parser(name, help=text)
        if name == "up":
            command.add_argument(
                "--new-ports", action="store_true", help="choose other ports, and keep the data"
            )
        if name == "reset":
            command.add_argument("--all", action="store_true", help="every stack of this checkout")
        if name == "status":
            command.add_argument("--json", action="store_true", help="for programs")
    for name, text in _SINGLE.items():
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "server", help=f"{', '.join(VARIABLES)}; of topology ha a node such as postgres-2"
        )
    partition = commands.add_parser(
        "partition", help="of topology ha: lose the packets between nodes"
    )
    partition.add_argument(
        "nodes", nargs="+", metavar="NODE", help="a node, or a kind: all its nodes"
    )
    partition.add_argument(
        "--from", nargs="+", dest="others", default=(), metavar="NODE", help="default: all others"
    )
    return parser


def _run_ha(cluster: Cluster, options: argparse.Namespace) -> int:
    if options.command == "partition":
        cluster.partition(options.nodes, options.others)
    elif options.command == _ROLLING:
        cluster.rolling_restart()
    elif options.command == "heal":
        cluster.heal()
    else:
        return _run(cluster, options)
    return 0


def _run(stack: Stack, options: argparse.Namespace) -> int:
    if options.command == "up":
        stack.up(new_ports=options.new_ports)
        return _show(stack.status(), as_json=False)
    if options.command == "status":
        return _show(stack.status(), as_json=options.json)
    if options.command == "env":
        for variable, url in stack.urls().items():
            print(f"export {variable}={shlex.quote(url)}")
    elif options.command == "down":
        for server in stack.down():
            print(f"{server} did not end in time and was killed", file=sys.stderr)
    elif options.command == "reset":
        reset_all() if options.all else reset(stack.name)
    else:
        getattr(stack, options.command)(options.server)
    return 0


def _show(status: list[Status], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps([dataclasses.asdict(server) for server in status], indent=1))
    elif not status:
        print("This stack was never started: python -m config.stack up")
    else:
        for server in status:
            print(_line(server))
    good = bool(status) and all(server.state in ("running", "external") for server in status)
    return 0 if good else NOT_ALL_RUNNING


def _line(server: Status) -> str:
    facts = [
        f"127.0.0.1:{server.port}" if server.port else None,
        f"pid {server.pid}" if server.pid else None,
        f"{server.memory_bytes // 2**20} MiB" if server.memory_bytes else None,
        server.version,
        server.origin,
    ]
    return f"{server.server:<10} {server.state:<8} " + ", ".join(fact for fact in facts if fact)


if __name__ == "__main__":
    with ending_with_its_reader():
        sys.exit(main())
