"""Hosts as network namespaces: a wire between them that can fail, and a bridge that cannot, to read metrics over."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from chaos import wire
from chaos.schedule import Fault
from chaos.wire import Link

_NUMBERS = itertools.count()
CUT = 1.0
"""Loss of a link that carries nothing."""


class Network:
    """Namespaces of one run; they and their devices are gone after `close`."""

    def __init__(self, hosts: Sequence[str]) -> None:
        """Raises OSError or subprocess.CalledProcessError where this is not permitted."""
        self._stack = ExitStack()
        self._tag = f"c{os.getpid() % 100_000}n{next(_NUMBERS)}"  # the kernel takes its time to forget a name
        self._subnet = os.getpid() % 250
        self._numbers = {host: number for number, host in enumerate(hosts, 1)}
        try:
            self._wire = self._build(hosts)
        except BaseException:
            self._stack.close()
            raise

    @staticmethod
    def why_not() -> str:
        """What hinders it on this machine, empty if nothing does."""
        try:
            os.close(wire.open_tun(f"c{os.getpid() % 100_000}-try"))
            Network(("try",)).close()
        except subprocess.CalledProcessError as error:
            return f"network namespaces: {error.stderr.strip()}"
        except OSError as error:
            return f"network namespaces: {error}"
        return ""

    def address(self, host: str) -> str:
        """Where the services of a host talk to each other."""
        return f"10.77.{self._subnet}.{self._numbers[host]}"

    def metrics_address(self, host: str) -> str:
        """Where they are asked for their metrics, whatever befalls the wire."""
        return f"10.78.{self._subnet}.{self._numbers[host]}"

    def command(self, host: str) -> tuple[str, ...]:
        """What runs a command on a host."""
        return ("ip", "netns", "exec", self._namespace(host))

    @property
    def is_up(self) -> bool:
        """Whether the wire carries packets."""
        return self._wire.poll() is None

    async def impair(self, fault: Fault) -> None:
        """Let a link be as the fault says, while it is in force."""
        source, _, destination = fault.target.partition("-")
        link = _impaired(Link(source, destination), fault)
        back = replace(link, source=destination, destination=source)
        changed = [link] if fault.kind == "one-way partition" else [link, back]
        try:
            for each in changed:
                self.set(each)
            await asyncio.sleep(fault.seconds)
        finally:
            for each in changed:
                self.set(Link(each.source, each.destination))

    def set(self, link: Link) -> None:
        """Let packets of one direction be as the link says, until another says otherwise."""
        assert self._wire.stdin is not None
        self._wire.stdin.write(json.dumps(asdict(link)) + "\n")
        self._wire.stdin.flush()

    def close(self) -> None:
        """Remove everything."""
        self._stack.close()

    def _build(self, hosts: Sequence[str]) -> subprocess.Popen[str]:
        bridge = f"{self._tag}-br"
        _ip("link", "add", bridge, "type", "bridge")
        self._stack.callback(_ip, "link", "del", bridge)
        _ip("addr", "add", f"10.78.{self._subnet}.254/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for host in hosts:
            self._add_host(host, bridge)
        process = self._start_wire(hosts)
        for host in hosts:
            self._plug_in(host)
        return process

    def _add_host(self, host: str, bridge: str) -> None:
        namespace, cable = self._namespace(host), f"{self._tag}-v{self._numbers[host]}"
        _ip("netns", "add", namespace)
        self._stack.callback(_ip, "netns", "del", namespace)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "metrics", "netns", namespace)
        _ip("link", "set", cable, "master", bridge, "up")
        _ip("-n", namespace, "addr", "add", f"{self.metrics_address(host)}/24", "dev", "metrics")
        _ip("-n", namespace, "link", "set", "metrics", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")

    def _start_wire(self, hosts: Sequence[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, wire.__file__, *(f"{host}={self.address(host)}={self._device(host)}" for host in hosts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(_end, process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise OSError(f"{Path(wire.__file__).name} did not start")
        return process

    def _plug_in(self, host: str) -> None:
        namespace, device = self._namespace(host), self._device(host)
        _ip("link", "set", device, "netns", namespace)
        _ip("-n", namespace, "addr", "add", f"{self.address(host)}/24", "dev", device)
        _ip("-n", namespace, "link", "set", device, "up")

    def _namespace(self, host: str) -> str:
        return f"{self._tag}-{host}"

    def _device(self, host: str) -> str:
        return f"{self._tag}-t{self._numbers[host]}"


def _impaired(link: Link, fault: Fault) -> Link:
    match fault.kind:
        case "loss":
            return replace(link, loss=fault.amount)
        case "delay":
            return replace(link, delay=fault.amount)
        case "reordering":
            return replace(link, jitter=fault.amount)
        case "duplication":
            return replace(link, duplication=fault.amount)
        case "partition" | "one-way partition":
            return replace(link, loss=CUT)
    raise ValueError(f"no fault of the network: {fault.kind}")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait()
    process.stdout.close()
