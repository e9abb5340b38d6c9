"""The kinds of fault that there are, sized for a lease and a number of actors."""

from __future__ import annotations

from chaos.schedule import Kind

ACTOR_HOSTS = ("east", "west")
HOSTS = ("gate", "learner", *ACTOR_HOSTS)
"""One network namespace each; the actors are dealt to east and west in turn."""

BACKBONE = ("gate-learner",)
BRANCHES = ("gate-east", "gate-west", "learner-east", "learner-west")
LINKS = (*BACKBONE, *BRANCHES)


def of_processes(actors: int, lease_seconds: float) -> list[Kind]:
    """SIGKILL, SIGTERM and SIGSTOP. Actor 0 is spared, so that one process sees the whole run."""
    struck = tuple(f"actor-{index}" for index in range(1, actors))
    shorter, longer = (0.2 * lease_seconds, 0.7 * lease_seconds), (1.3 * lease_seconds, 2.5 * lease_seconds)
    down = (0.0, 1.5 * lease_seconds)
    return [
        Kind("kill", struck, down, times=4),
        Kind("kill", ("gate",), down, times=2, stops_training=True),
        Kind("kill", ("learner",), down, stops_training=True),
        Kind("restart", struck, down),
        Kind("restart", ("gate", "learner"), down, times=2, stops_training=True),
        Kind("pause", struck, shorter, times=2),
        Kind("pause", struck, longer, times=2),
        Kind("pause", ("gate", "learner"), shorter, times=2, stops_training=True),
        Kind("pause", ("gate", "learner"), longer, times=2, stops_training=True),
        Kind("slow", ("learner",), (1.0 * lease_seconds, 4.0 * lease_seconds), amount=(0.5, 0.9)),
    ]


def of_the_network(lease_seconds: float) -> list[Kind]:
    """Packets lost, late, out of order or twice, and none at all; `amount` is a probability or seconds."""
    lasting = (1.0 * lease_seconds, 4.0 * lease_seconds)
    cut = (0.5 * lease_seconds, 2.5 * lease_seconds)
    return [
        Kind("loss", LINKS, lasting, amount=(0.02, 0.15), times=2),
        Kind("delay", LINKS, lasting, amount=(0.02, 0.3)),
        Kind("reordering", LINKS, lasting, amount=(0.005, 0.1)),
        Kind("duplication", LINKS, lasting, amount=(0.05, 0.5)),
        Kind("partition", BACKBONE, cut, stops_training=True),
        Kind("partition", BRANCHES, cut, times=2),
        Kind("one-way partition", BACKBONE, cut, stops_training=True),
        Kind("one-way partition", BRANCHES, cut, times=2),
        # Half of the actors with credit and without weights, for so long that the others cannot wait for them.
        Kind("partition", ("learner-east", "learner-west"), (10 * lease_seconds, 14 * lease_seconds)),
    ]


def of_the_disk(lease_seconds: float) -> list[Kind]:
    """A disk that is full, slow or stands still; `amount` is the share of the time in which it stands still."""
    lasting = (1.0 * lease_seconds, 3.0 * lease_seconds)
    return [
        Kind("full disk", ("checkpoints",), lasting, times=2),
        Kind("slow disk", ("checkpoints",), lasting, amount=(0.6, 0.9)),
        Kind(
            "slow disk", ("checkpoints",), (0.5 * lease_seconds, 2.0 * lease_seconds), (1.0, 1.0), stops_training=True
        ),
        Kind("full disk", ("journal",), lasting, stops_training=True),
    ]


def of_clocks(actors: int, lease_seconds: float) -> list[Kind]:
    """The wall clock jumps by `amount` seconds and back; a host that boots anew has another monotonic clock too."""
    services = ("gate", "learner", *(f"actor-{index}" for index in range(actors)))
    lasting = (0.5 * lease_seconds, 2.0 * lease_seconds)
    return [
        Kind("clock jump", services, lasting, amount=(-864_000, 864_000)),
        Kind("clock jump", ("gate", "learner"), lasting, amount=(-60, 60)),
        Kind("reboot", ("gate", "learner", "actor-1"), (0.0, 0.0), amount=(0, 8_640_000), stops_training=True),
    ]
