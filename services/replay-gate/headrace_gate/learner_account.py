"""What the gate knows of the learner, and the batches that it has not yet trained. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from headrace_gate.ledger import CreditLedger
from headrace_gate.rollout_queue import QueuedRollout
from headrace_proto.messages import Progress, Session
from headrace_proto.metrics import REJECTION_REASONS

MAX_UNTRAINED_BATCHES = 2
"""One that the learner trains and one that lies ready, so that it never waits for the wire."""


@dataclass(slots=True)
class SentBatch:
    """A batch the learner has not reported trained; `rollouts` is empty if a predecessor of this gate sent it."""

    number: int
    count: int
    rollouts: list[QueuedRollout] = field(default_factory=list)
    sent: bool = False
    sent_at: float = 0.0


class LearnerAccount:
    """Follows one learner after another through their Progress, and settles batches in the ledger."""

    def __init__(self, gate: Session) -> None:
        self._gate = gate
        self.progress: Progress | None = None
        self.progress_changed = False
        """Whether it came since whoever keeps the journal last looked."""
        self.generation = 0
        self.version = 0
        self.batch_number = 0
        self.untrained: deque[SentBatch] = deque()
        self._settled_trained = 0
        self._settled_rejected: dict[str, int] = {}
        self._retired: deque[Session] = deque(maxlen=64)

    @property
    def is_greeted(self) -> bool:
        """Whether the learner has answered this gate's last greeting."""
        progress = self.progress
        return progress is not None and progress.gate == self._gate and progress.generation >= self.generation

    @property
    def weights(self) -> tuple[int, int]:
        """Generation and version of the newest weights that were published."""
        return (0, 0) if self.progress is None else (self.progress.generation, self.progress.published_version)

    @property
    def is_finished(self) -> bool:
        """Whether the learner has trained all that it was asked to."""
        return self.progress is not None and self.progress.finished

    @property
    def takes_turns(self) -> bool:
        """Whether the run is deterministic: its actor and the learner take turns."""
        return self.progress is not None and self.progress.run.deterministic

    @property
    def takes_batches(self) -> bool:
        """Whether another batch may be sent."""
        return self.is_greeted and not self.is_finished and len(self.untrained) < MAX_UNTRAINED_BATCHES

    @property
    def unsent(self) -> list[SentBatch]:
        """Batches to send, or to send again to a learner that came after."""
        return [batch for batch in self.untrained if not batch.sent]

    def is_retired(self, learner: Session) -> bool:
        """Whether another learner has come after this one."""
        return learner in self._retired

    def forgive(self, seconds: float) -> None:
        """Prolong the time that batches have to arrive: the gate itself did not listen for so long."""
        for batch in self.untrained:
            batch.sent_at += seconds

    def next_batch(self, rollouts: list[QueuedRollout]) -> SentBatch:
        """Number a batch and keep it until it is trained."""
        self.batch_number += 1
        batch = SentBatch(self.batch_number, sum(rollout.count for rollout in rollouts), rollouts)
        self.untrained.append(batch)
        return batch

    def resend_lost(self, before: float) -> None:
        """Let batches be sent again that were sent before a time and that a learner waiting for one has not got."""
        progress = self.progress
        if progress is None or progress.waiting_for != "batch":
            return
        for batch in self.untrained:
            if batch.rollouts and batch.number > progress.received_batch and batch.sent_at < before:
                batch.sent = False

    def greet_again(self) -> None:
        """Greet the learner as if the gate were another, which makes a deterministic run take up its checkpoint."""
        self.generation += 1

    def lose_untrained(self, cause: str, ledger: CreditLedger) -> None:
        """Give up all batches that the learner has not trained."""
        for batch in list(self.untrained):
            self._lose(batch, ledger, cause)

    def hear(self, progress: Progress, ledger: CreditLedger) -> bool:
        """Take in the Progress of a learner not retired, and settle what it covers; returns whether it is new."""
        is_new = self.progress is None or self.progress.learner != progress.learner
        if is_new:
            self._meet(progress, ledger)
        self.progress = progress
        self.progress_changed = True
        self.version = max(self.version, progress.version)
        if self.is_greeted:
            self.batch_number = max(self.batch_number, progress.received_batch)
            self._settle(progress, ledger)
        return is_new

    def _meet(self, progress: Progress, ledger: CreditLedger) -> None:
        self.generation = max(self.generation, progress.generation) if progress.generation else self.generation + 1
        self._settled_trained = progress.trained
        self._settled_rejected = dict(progress.rejected)
        if self.progress is None:
            return
        self._retired.append(self.progress.learner)
        for batch in [batch for batch in self.untrained if not batch.rollouts]:
            self._lose(batch, ledger)
        for batch in self.untrained:
            batch.sent = False

    def _settle(self, progress: Progress, ledger: CreditLedger) -> None:
        trained = progress.trained - self._settled_trained
        rejected = {
            reason: count - self._settled_rejected.get(reason, 0) for reason, count in progress.rejected.items()
        }
        self._settled_trained, self._settled_rejected = progress.trained, dict(progress.rejected)
        covered = [batch for batch in self.untrained if batch.sent and batch.number <= progress.trained_batch]
        for batch in covered:
            self.untrained.remove(batch)
        self._enter(sum(batch.count for batch in covered), trained, rejected, ledger)
        for batch in [batch for batch in self.untrained if not batch.rollouts]:
            if batch.number > progress.received_batch:
                self._lose(batch, ledger)

    @staticmethod
    def _enter(covered: int, trained: int, rejected: dict[str, int], ledger: CreditLedger) -> None:
        """Enter covered batches; a learner's numbers can never move more than was sent to it."""
        left = covered
        refused: dict[str, int] = {}
        for reason, count in rejected.items():
            known = reason if reason in REJECTION_REASONS else "malformed"
            refused[known] = refused.get(known, 0) + max(0, min(count, left))
            left -= max(0, min(count, left))
        done = max(0, min(trained, left))
        ledger.train(done, refused)
        if left > done:
            ledger.lose_delivered(left - done, "gate_restart")

    def _lose(self, batch: SentBatch, ledger: CreditLedger, cause: str = "gate_restart") -> None:
        self.untrained.remove(batch)
        ledger.lose_delivered(batch.count, cause)

    def batches(self) -> dict[str, Any]:
        """All but the learner's progress, as plain values for the journal."""
        return {
            "generation": self.generation,
            "version": self.version,
            "batch_number": self.batch_number,
            "untrained": [[batch.number, batch.count, batch.sent] for batch in self.untrained],
            "settled_trained": self._settled_trained,
            "settled_rejected": self._settled_rejected,
            "retired": list(self._retired),
        }

    def progress_state(self) -> dict[str, Any] | None:
        """The learner's last word, as plain values for the journal."""
        return None if self.progress is None else self.progress.model_dump()

    @classmethod
    def restore(
        cls, gate: Session, batches: dict[str, Any], progress: dict[str, Any] | None, ledger: CreditLedger
    ) -> LearnerAccount:
        """The account as it stood; batches that were never sent died with the gate."""
        account = cls(gate)
        account.generation = batches["generation"]
        account.version = batches["version"]
        account.batch_number = batches["batch_number"]
        account._settled_trained = batches["settled_trained"]
        account._settled_rejected = batches["settled_rejected"]
        account._retired.extend(batches["retired"])
        for number, count, sent in batches["untrained"]:
            batch = SentBatch(number, count, sent=sent)
            account.untrained.append(batch)
            if not sent:
                account._lose(batch, ledger)
        if progress is not None:
            # A run that had finished may be resumed with more steps: only its learner can tell.
            account.progress = Progress.model_validate({**progress, "finished": False})
        return account
