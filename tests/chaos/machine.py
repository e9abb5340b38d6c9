"""What this machine lets chaos do, and the faults by their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from chaos import clocks, kinds, processes
from chaos.clocks import Clocks
from chaos.disks import Disks
from chaos.invariants import PromiseBrokenError
from chaos.network import Network
from chaos.schedule import Fault, Kind
from chaos.services import Places, Services

PROCESS_FAULTS = {
    "kill": processes.kill,
    "restart": processes.restart,
    "reboot": processes.reboot,
    "pause": processes.pause,
    "slow": processes.slow_down,
}


@dataclass(frozen=True, slots=True)
class Permitted:
    """Which families of faults beside those of processes can be injected here; why not, by family, for the others."""

    missing: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> Permitted:
        """Tried out: each is set up once for real."""
        reasons = {"network": Network.why_not(), "disks": Disks.why_not(), "clocks": clocks.why_not()}
        return cls({family: reason for family, reason in reasons.items() if reason})

    def families(self, actors: int, lease_seconds: float) -> dict[str, list[Kind]]:
        """What a schedule may be drawn from, by family: those of processes by what is done to them, then the others."""
        found: dict[str, list[Kind]] = {}
        for kind in kinds.of_processes(actors, lease_seconds):
            found.setdefault(kind.name, []).append(kind)
        found["network"] = kinds.of_the_network(lease_seconds)
        found["disks"] = kinds.of_the_disk(lease_seconds)
        found["clocks"] = kinds.of_clocks(actors, lease_seconds)
        return {family: its_kinds for family, its_kinds in found.items() if family not in self.missing}

    def kinds(self, actors: int, lease_seconds: float) -> list[Kind]:
        """The same as one deck."""
        return [kind for its_kinds in self.families(actors, lease_seconds).values() for kind in its_kinds]


class Machine:
    """Networks, disks and clocks of one run; `close` puts the machine back as it was."""

    def __init__(self, permitted: Permitted, folder: Path) -> None:
        """`folder` is empty; logs and checkpoints are left in it."""
        self._stack = ExitStack()
        self.network: Network | None = None
        self.disks: Disks | None = None
        self.clocks: Clocks | None = None
        for name in ("disks", "clocks", "logs", "scratch"):
            (folder / name).mkdir()
        try:
            if "network" not in permitted.missing:
                self.network = Network(kinds.HOSTS)
                self._stack.callback(self.network.close)
            if "disks" not in permitted.missing:
                self.disks = Disks(folder / "disks")
                self._stack.callback(self.disks.close)
            if "clocks" not in permitted.missing:
                self.clocks = Clocks(folder / "clocks")
        except BaseException:
            self._stack.close()
            raise
        disks = self.disks.folders if self.disks is not None else {}
        self.places = Places(
            run=disks.get("checkpoints", folder) / "run",
            journal=disks.get("journal", folder) / "gate.journal",
            scratch=folder / "scratch",
            logs=folder / "logs",
        )

    @staticmethod
    def struck(fault: Fault) -> str:
        """What one fault at a time may strike."""
        if fault.kind == "clock jump":
            return f"clock of {fault.target}"
        # A gate that cannot write its journal and dies has lost what it could not write: two faults at once.
        return "gate" if fault.target == "journal" else fault.target

    async def strike(self, fault: Fault, services: Services) -> None:
        """Inject it, keep it in force and lift it."""
        if fault.kind in PROCESS_FAULTS:
            await PROCESS_FAULTS[fault.kind](services.by_name[fault.target], fault)
        elif fault.kind == "clock jump":
            assert self.clocks is not None
            await self.clocks.jump(fault)
        elif fault.kind in ("full disk", "slow disk"):
            assert self.disks is not None
            await (self.disks.fill(fault) if fault.kind == "full disk" else self.disks.slow_down(fault))
        else:
            assert self.network is not None
            await self.network.impair(fault)

    def require_up(self) -> None:
        """Raise PromiseBrokenError if the wire itself is broken."""
        if self.network is not None and not self.network.is_up:
            raise PromiseBrokenError("the wire between the namespaces has ended: a defect of the test")

    def close(self) -> None:
        """After all processes have ended."""
        self._stack.close()
