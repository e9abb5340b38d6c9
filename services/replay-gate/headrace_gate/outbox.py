"""What the gate has decided to say and not yet sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace_gate.learner_account import SentBatch
from headrace_proto.messages import BatchHeader, GateHeartbeat, Message, Session


@dataclass(slots=True)
class Outbox:
    """Messages to send once the journal is written; a greeting is a header without a batch."""

    to_actors: list[tuple[Session, Message]] = field(default_factory=list)
    to_learner: list[tuple[BatchHeader, SentBatch | None]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not self.to_actors and not self.to_learner

    def clear(self) -> None:
        """Everything has been sent."""
        self.to_actors.clear()
        self.to_learner.clear()

    def withdraw(self) -> None:
        """Unsay everything but signs of life; whoever needs the rest asks again."""
        for _, batch in self.to_learner:
            if batch is not None:
                batch.sent = False
        self.to_learner.clear()
        self.to_actors = [item for item in self.to_actors if isinstance(item[1], GateHeartbeat)]
