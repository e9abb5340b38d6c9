"""The errors that a service tells apart.

HeadraceError
    UserError       a mistake in settings or files that a person can mend: one line, exit status 2
    WireError       bytes from a peer that break the wire specification: counted and refused
    NonFiniteError  the loss is NaN or infinite: the run stops, the last good checkpoint stays
"""

from __future__ import annotations

EXIT_USER_ERROR = 2
EXIT_NON_FINITE = 3
EXIT_STOPPED = 4
"""Of a learner that a signal stopped before its steps were done, unless --stopped-exit-status says otherwise."""


class HeadraceError(Exception):
    """Base of every error that Headrace raises on purpose."""


class UserError(HeadraceError):
    """A person's mistake; the message says what was wrong, what is allowed and what to do."""


class WireError(HeadraceError):
    """A message that breaks the wire specification.

    `reason` is one of the closed set of label values of the gate's refusal and rejection counters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class NonFiniteError(HeadraceError):
    """A loss or gradient that is not a finite number."""
