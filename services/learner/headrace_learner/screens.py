"""Where a game is shown: a window, or a video file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from headrace_proto.errors import UserError

WINDOW_HEIGHT = 840


class WindowClosed(Exception):  # noqa: N818 not an error
    """The person closed the window."""


class Screen(Protocol):
    """Takes a game's frames in turn."""

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show one frame, uint8 [height, width, 3]."""

    def close(self) -> None:
        """No more frames come."""


class VideoFile:
    """An mp4 that plays in real time: H.264, yuv420p, which every player reads."""

    def __init__(self, path: Path, frames_per_second: int) -> None:
        """Open the file; raises UserError if it cannot be written."""
        if path.suffix != ".mp4":
            raise UserError(f"--record {path}: allowed: a name that ends in .mp4")
        try:
            path.touch()  # PyAV opens the file with the first frame only
        except OSError as error:
            raise UserError(f"--record {path}: cannot write: {error.strerror}; choose another path") from error
        self._container = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(frames_per_second))
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "18"}
        self._size: tuple[int, int] | None = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Write one frame; the first decides the size."""
        # yuv420p halves both sides, so they must be even.
        even = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2])
        if self._size is None:
            self._size = even.shape[:2]
            self._stream.height, self._stream.width = self._size
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def close(self) -> None:
        """Write what the encoder holds back, and the index."""
        if self._size is not None:
            self._container.mux(self._stream.encode())
        self._container.close()


class Window:
    """A window that shows frames in real time; closing it, or Escape, ends the game."""

    def __init__(self, title: str, frames_per_second: int) -> None:
        """Prepare; the window opens with the first frame."""
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame: Any = pygame
        self._frames_per_second = frames_per_second
        try:
            pygame.display.init()
            pygame.display.set_caption(title)
        except pygame.error as error:
            raise UserError(_no_window(str(error))) from error
        # SDL falls back on a driver that shows nothing rather than fail.
        driver = pygame.display.get_driver()
        if driver in ("offscreen", "dummy") and "SDL_VIDEODRIVER" not in os.environ:
            raise UserError(_no_window("no display was found"))
        self._clock = pygame.time.Clock()
        self._surface: Any = None

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Show one frame and wait for its time; raises WindowClosed."""
        pygame = self._pygame
        if self._surface is None:
            scale = max(1, WINDOW_HEIGHT // frame.shape[0])
            self._surface = pygame.display.set_mode((frame.shape[1] * scale, frame.shape[0] * scale))
        picture = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        pygame.transform.scale(picture, self._surface.get_size(), self._surface)
        pygame.display.flip()
        self._clock.tick(self._frames_per_second)
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                raise WindowClosed

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()


def _no_window(reason: str) -> str:
    return f"no window can be opened ({reason}); use --record FILE.mp4 on a machine with no display"
