"""A wire between network namespaces that loses, delays, reorders, duplicates and cuts.

`python wire.py NAME=IP=DEVICE...` stands where `tc netem` would, which needs a kernel module (sch_netem) that not every
kernel has. It is below TCP: each host's packets come out of a TUN device, and go into another's. Standard input takes
one JSON object a line, a `Link`; the end of standard input ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import dataclass

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x1001
_LARGEST_PACKET_BYTES = 65_536
_BURST = 64
MOST_DELAYED_PACKETS = 10_000
"""What is delayed beyond that is lost, so that the wire's memory is bounded."""


@dataclass(frozen=True, slots=True)
class Link:
    """What befalls packets from one host to another: probabilities and seconds.

    `jitter` is added to `delay`, evenly from 0; so packets overtake each other.
    """

    source: str
    destination: str
    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    duplication: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether packets pass as they come."""
        return not (self.loss or self.delay or self.jitter or self.duplication)


class Wire:
    """The TUN devices of all hosts and the links between them."""

    def __init__(self, devices: dict[str, int], hosts: dict[bytes, str], seed: int = 0) -> None:
        """`devices` are file descriptors by host; `hosts` are names by IPv4 address, 4 bytes."""
        self._devices = devices
        self._hosts = hosts
        self._names = {descriptor: name for name, descriptor in devices.items()}
        self._links: dict[tuple[str, str], Link] = {}
        self._delayed: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._random = random.Random(seed)

    def set(self, link: Link) -> None:
        """From now on."""
        if link.is_clean:
            self._links.pop((link.source, link.destination), None)
        else:
            self._links[link.source, link.destination] = link

    def run(self) -> None:
        """Until standard input ends."""
        commands = sys.stdin.fileno()
        poll = select.epoll()
        for descriptor in (*self._names, commands):
            poll.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, _ in poll.poll(self.seconds_to_wait()):
                if descriptor != commands:
                    self._receive(descriptor)
                elif not (lines := os.read(commands, _LARGEST_PACKET_BYTES)):
                    return
                else:  # a line is written whole, since it is shorter than a pipe takes at once
                    for line in lines.splitlines():
                        self.set(Link(**json.loads(line)))
            self.send_due(time.monotonic())

    def seconds_to_wait(self) -> float:
        """Until the next packet is due; a second if there is none."""
        return max(0.0, self._delayed[0][0] - time.monotonic()) if self._delayed else 1.0

    def _receive(self, descriptor: int) -> None:
        for _ in range(_BURST):
            try:
                packet = os.read(descriptor, _LARGEST_PACKET_BYTES)
            except BlockingIOError:
                return
            self.forward(self._names[descriptor], packet)

    def forward(self, source: str, packet: bytes) -> None:
        """Let a packet of a host befall what its link does."""
        destination = self._hosts.get(packet[16:20]) if packet[0] >> 4 == 4 else None
        if destination is None:
            return  # IPv6 looks for routers on every new device
        link = self._links.get((source, destination))
        if link is None:
            _write(self._devices[destination], packet)
            return
        copies = 2 if self._random.random() < link.duplication else 1
        for _ in range(copies):
            if self._random.random() >= link.loss and len(self._delayed) < MOST_DELAYED_PACKETS:
                self._count += 1
                due = time.monotonic() + link.delay + link.jitter * self._random.random()
                heapq.heappush(self._delayed, (due, self._count, self._devices[destination], packet))

    def send_due(self, now: float) -> None:
        """Deliver what was delayed until now."""
        while self._delayed and self._delayed[0][0] <= now:
            _, _, descriptor, packet = heapq.heappop(self._delayed)
            _write(descriptor, packet)


def _write(descriptor: int, packet: bytes) -> None:
    with contextlib.suppress(OSError):  # the device is down, or its queue is full: lost, as on any wire
        os.write(descriptor, packet)


def open_tun(name: str) -> int:
    """A new TUN device of that name; raises OSError where that is not permitted."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_WITHOUT_HEADER))
    return descriptor


def main() -> None:
    """Make the devices, say so, and carry packets."""
    devices, hosts = {}, {}
    for argument in sys.argv[1:]:
        name, address, device = argument.split("=")
        devices[name] = open_tun(device)
        hosts[bytes(map(int, address.split(".")))] = name
    print("ready", flush=True)
    Wire(devices, hosts).run()


if __name__ == "__main__":
    main()
