"""An actor's session at the gate: what to say when, and what the answers mean. Pure: time is given."""

from __future__ import annotations

from headrace_proto import messages
from headrace_proto.errors import HeadraceError, UserError, WireError
from headrace_proto.messages import ActorHeartbeat, CreditGrant, CreditRequest, GateHeartbeat, Leave, Message

ASK_AGAIN_SECONDS = 1.0


class SessionLost(HeadraceError):  # noqa: N818 an event
    """The gate does not know this session any more, or is silent: join again with a new one."""


class RunFinished(HeadraceError):  # noqa: N818 an event
    """The run has ended: nothing is left to play."""


class Refused(UserError):  # noqa: N818 an event
    """The gate is of another release: a person has to bring both to the same one."""


class Session:
    """Credits asked for, granted and finished, and when each side was last heard.

    At most one credit is asked for at a time, and the next may be asked for while one is being played.
    """

    def __init__(self, lease_seconds: float, now: float) -> None:
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = lease_seconds / 4
        self._heard_at = now
        self._heartbeat_due = now
        self._ask_due = now
        self._ask_again_seconds = ASK_AGAIN_SECONDS
        self._asked_credit = 0
        self._asked_count = 0
        self._grant: CreditGrant | None = None
        self._is_asking = False
        self.finished = 0
        self.env_steps = 0
        self.waiting_for = ""
        self.gate_waits_for = ""

    def ask(self, count: int, now: float) -> None:
        """Want one more credit, unless one is asked for or granted already."""
        if not self._is_asking and self._grant is None:
            self._asked_credit += 1
            self._asked_count = count
            self._is_asking = True
            self._ask_due = now
            self._ask_again_seconds = ASK_AGAIN_SECONDS

    @property
    def granted(self) -> CreditGrant | None:
        """The credit that `take_grant` would return."""
        return self._grant

    def take_grant(self) -> CreditGrant | None:
        """The credit to play against now, if it has been granted."""
        grant, self._grant = self._grant, None
        return grant

    def finish(self, credit: int) -> None:
        """Nothing more will be sent for this credit and those before it."""
        self.finished = max(self.finished, credit)

    def due(self, now: float) -> list[Message]:
        """The messages that are to be sent now."""
        due: list[Message] = []
        if self._is_asking and now >= self._ask_due:
            self._ask_due = now + self._ask_again_seconds
            # Who waits long waits in line: a thousand that ask every second would be much of the gate's work.
            self._ask_again_seconds = max(ASK_AGAIN_SECONDS, self._heartbeat_seconds)
            due.append(CreditRequest(credit=self._asked_credit, count=self._asked_count, finished=self.finished))
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + self._heartbeat_seconds
            due.append(ActorHeartbeat(finished=self.finished, env_steps=self.env_steps, waiting_for=self.waiting_for))
        return due

    def seconds_until_due(self, now: float) -> float:
        """How long nothing need be sent."""
        due = min(self._heartbeat_due, self._ask_due) if self._is_asking else self._heartbeat_due
        return max(0.0, due - now)

    def receive(self, data: bytes, now: float) -> None:
        """Act on a message from the gate.

        Raises WireError for a malformed one, SessionLost or RunFinished where the gate ends the session, Refused
        where it cannot work with this release.
        """
        kind, fields = messages.decode_kind(data)
        if kind == "CREDIT":
            self._on_grant(messages.parse(CreditGrant, fields))
        elif kind == "HEARTBEAT":
            self.gate_waits_for = messages.parse(GateHeartbeat, fields).waiting_for
        elif kind == "LEAVE":
            raise ended(messages.parse(Leave, fields))
        elif kind != "WELCOME":  # JOIN, repeated, may be answered twice
            raise WireError("unexpected", f"a gate does not send {kind}")
        self._heard_at = now

    def check_lease(self, now: float) -> None:
        """Raise SessionLost if the gate has been silent for a lease."""
        silent = now - self._heard_at
        if silent > self._lease_seconds:
            raise SessionLost(f"the gate has been silent for {silent:.1f} s")

    def _on_grant(self, grant: CreditGrant) -> None:
        if self._is_asking and grant.credit == self._asked_credit:
            self._is_asking = False
            self._grant = grant


def ended(leave: Leave) -> Exception:
    """What a LEAVE from the gate means to an actor."""
    if leave.code == "finished":
        return RunFinished(leave.reason)
    if leave.code == "schema":
        return Refused(f"the gate refuses this actor: {leave.reason}")
    return SessionLost(f"{leave.code}: {leave.reason}")
