"""Small disks that fill up or stand still: ext4 on a loop device for checkpoints, a tmpfs for the gate's journal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.schedule import Fault

CHECKPOINTS_MEGABYTES = 48
JOURNAL_MEGABYTES = 1
BALLAST = "ballast"

_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878
_PERIOD_SECONDS = 0.5
"""In which a slow disk stands still for a share of the time."""


class Disks:
    """Both disks, below a folder; unmounted by `close`."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError or subprocess.CalledProcessError where this is not permitted."""
        self._mounted = ExitStack()
        self.folders = {name: folder / name for name in ("checkpoints", "journal")}
        for path in self.folders.values():
            path.mkdir()
        image = folder / "checkpoints.ext4"
        with image.open("wb") as file:
            file.truncate(CHECKPOINTS_MEGABYTES << 20)
        try:
            # Nothing is reserved for root, as whom the services may run here.
            _run("mkfs.ext4", "-q", "-m", "0", str(image))
            self._mount("-o", "loop", str(image), self.folders["checkpoints"])
            self._mount("-t", "tmpfs", "-o", f"size={JOURNAL_MEGABYTES}m", "tmpfs", self.folders["journal"])
        except BaseException:
            self.close()
            raise

    @staticmethod
    def why_not() -> str:
        """What hinders it on this machine, empty if nothing does."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                disks = Disks(Path(folder))
                try:
                    with _standing_still(disks.folders["checkpoints"]):
                        pass
                finally:
                    disks.close()
            except subprocess.CalledProcessError as error:
                return f"disks: {error.stderr.strip()}"
            except OSError as error:
                return f"disks: {error}"
        return ""

    async def fill(self, fault: Fault) -> None:
        """Leave no room, for as long as the fault is in force."""
        ballast = self.folders[fault.target] / BALLAST
        try:
            await asyncio.to_thread(_fill, ballast, fault.seconds)
        finally:
            ballast.unlink(missing_ok=True)

    async def slow_down(self, fault: Fault) -> None:
        """Let every write wait: `amount` is the share of the time in which none gets through."""
        await asyncio.to_thread(_slow_down, self.folders[fault.target], fault.seconds, fault.amount)

    def close(self) -> None:
        """Unmount."""
        self._mounted.close()

    def _mount(self, *arguments: str | Path) -> None:
        _run("mount", *map(str, arguments))
        self._mounted.callback(_run, "umount", str(arguments[-1]))


def _fill(ballast: Path, seconds: float) -> None:
    """Take what room there is, and again what others leave."""
    with ballast.open("wb", buffering=0) as file:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(65_536))
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(512))
            time.sleep(0.1)


def _slow_down(folder: Path, seconds: float, share: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with _standing_still(folder):
            time.sleep(left if share == 1.0 else _PERIOD_SECONDS * share)
        time.sleep(0.0 if share == 1.0 else _PERIOD_SECONDS * (1.0 - share))


@contextmanager
def _standing_still(folder: Path) -> Iterator[None]:
    """A frozen file system: who writes waits, and cannot even be killed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, _FITHAW, 0)
    finally:
        os.close(descriptor)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
