"""How a service starts and stops: signals, exit status, and one line for a person's mistake."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from headrace_proto.errors import EXIT_NON_FINITE, EXIT_USER_ERROR, HeadraceError, NonFiniteError, UserError


class StopSignal:
    """Set by SIGTERM and SIGINT; a second signal ends the process at once.

    A loop asks `is_set` at least once a second, because a signal handler does not wake a ZeroMQ poll by itself.
    """

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> StopSignal:
        """Handle SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_set:
            os._exit(128 + number)
        self.is_set = True


def run_main(main: Callable[[], None]) -> None:
    """Run a service's main and exit: 0 when done, 2 for a person's mistake, 3 for a loss that is not finite, else 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except NonFiniteError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_NON_FINITE)
    except HeadraceError as error:
        if error.__cause__ is not None:  # the traceback says more than the message
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
