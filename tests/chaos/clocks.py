"""Wall clocks that jump, each service's by itself, and monotonic clocks that begin elsewhere, as after a boot.

The machine's own clock is left alone. A preloaded library moves what a process sees of CLOCK_REALTIME; what the kernel
itself stamps, such as the times of files, does not jump.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
from pathlib import Path

from chaos.schedule import Fault

SOURCE = Path(__file__).with_name("clock_jump.c")


def why_not() -> str:
    """What hinders it on this machine, empty if nothing does."""
    if shutil.which("cc") is None:
        return "clocks: no C compiler"
    try:
        subprocess.run([*since_another_boot(1), "true"], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        return f"clocks: time namespaces: {error.stderr.strip()}"
    except OSError as error:
        return f"clocks: time namespaces: {error}"
    return ""


class Clocks:
    """A clock for each service, in a folder."""

    def __init__(self, folder: Path) -> None:
        """Compile the library; raises subprocess.CalledProcessError."""
        self._folder = folder
        self._library = folder / "clock_jump.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    def environment(self, service: str) -> dict[str, str]:
        """What gives a service its clock."""
        if not self._file(service).exists():
            self._set(service, 0)
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file(service))}

    async def jump(self, fault: Fault) -> None:
        """To another time, and back."""
        try:
            self._set(fault.target, round(fault.amount))
            await asyncio.sleep(fault.seconds)
        finally:
            self._set(fault.target, 0)

    def _file(self, service: str) -> Path:
        return self._folder / f"{service}.clock"

    def _set(self, service: str, seconds: int) -> None:
        # Written over in place: the service has it mapped.
        with self._file(service).open("r+b" if self._file(service).exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


def since_another_boot(seconds: float) -> tuple[str, ...]:
    """What runs a command under a monotonic clock that is so many seconds further."""
    return ("unshare", "--time", "--monotonic", str(round(seconds)), "--boottime", str(round(seconds)))
