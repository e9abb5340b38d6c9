"""Bytes, and transitions, messages and connections that did not get through."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import rate, within_five_minutes
from headrace_grafana.panels import ALARM_COLOR, WARNING_COLOR, Query, Threshold, TimeSeries
from headrace_grafana.units import BYTES_A_SECOND, COUNT

LOSSES = Row(
    "Bytes, and what did not get through",
    (
        TimeSeries(
            title="Bytes/s",
            shows="Transitions into the gate, batches out of it, and weights out of the learner, "
            "once to each actor that begins a round without the newest.",
            bad="Out above in, for long: batches are sent again. Weights near what the network carries.",
            remedy="Sent again: look for restarts of the learner. Weights: raise HEADRACE_ROLLOUT_LENGTH.",
            queries=(
                Query(rate("headrace_gate_received_bytes_total"), "transitions into the gate {{run}}"),
                Query(rate("headrace_gate_sent_bytes_total"), "batches to the learner {{run}}"),
                Query(rate("headrace_learner_published_bytes_total"), "weights from the learner {{run}}"),
            ),
            unit=BYTES_A_SECOND,
            least=0,
        ),
        TimeSeries(
            title="Rejected transitions",
            shows="Transitions with credit that were refused within 5 minutes, by reason. Stale: overtaken by "
            "straggler_updates updates, as is the credit of a killed actor if they take less than its lease.",
            bad="malformed, oversized or not_finite at all: an actor is broken, or of another release. "
            "Stale all the time: an actor is too slow for this run.",
            remedy="Bring all services to one release. Stale: look for actors that play slower than the others.",
            queries=(
                Query(within_five_minutes("headrace_gate_rejected_transitions_total", "reason"), "{{reason}} {{run}}"),
            ),
            unit=COUNT,
            least=0,
            stacked=True,
            thresholds=(Threshold(1, WARNING_COLOR),),
        ),
        TimeSeries(
            title="Lost transitions",
            shows="Transitions with credit that vanished within 5 minutes, by cause. "
            "A killed actor costs its credit, here or as stale, and a killed gate what was queued.",
            bad="actor_gone or transport at all while nobody kills or scales anything.",
            remedy="actor_gone: do actors run out of memory, or lose the network for a lease? "
            "transport: look at the network.",
            queries=(Query(within_five_minutes("headrace_gate_lost_transitions_total", "cause"), "{{cause}} {{run}}"),),
            unit=COUNT,
            least=0,
            stacked=True,
            thresholds=(Threshold(1, WARNING_COLOR),),
        ),
        TimeSeries(
            title="Refused messages",
            shows="Messages that stood for no credit, within 5 minutes, by reason. "
            "After a restart of the gate or the loss of an actor a few are normal.",
            bad="schema: an actor of another release. malformed: something else talks to the gate. "
            "Any reason that goes on without end.",
            remedy="The gate's log says what was wrong with one of each reason. Bring all services to one release.",
            queries=(
                Query(within_five_minutes("headrace_gate_refused_messages_total", "reason"), "{{reason}} {{run}}"),
            ),
            unit=COUNT,
            least=0,
            stacked=True,
        ),
        TimeSeries(
            title="Failed handshakes",
            shows="Connections refused within 5 minutes at the sockets of gate and learner, by reason. "
            "`none`: no socket is watched, for all are of one machine.",
            bad="unknown_key, wrong_server_key or not_curve at all: a stranger, or a service with old keys. "
            "broken is also what a peer leaves that was killed.",
            remedy="An actor of yours that has just come needs keys that the servers know. Else shut the stranger out.",
            queries=(
                Query(
                    within_five_minutes("headrace_handshake_failures_total", "socket", "reason")
                    + '\nor on () label_replace(vector(0), "reason", "none", "", "")',
                    "{{reason}} {{socket}} {{run}}",
                ),
            ),
            unit=COUNT,
            least=0,
            thresholds=(Threshold(1, ALARM_COLOR),),
        ),
        TimeSeries(
            title="Transitions unaccounted for",
            shows="Promised less returned, trained, rejected, lost and alive, of one scrape.",
            bad="Anything but 0: the account does not close.",
            remedy="Keep the gate's journal and log and report a defect.",
            queries=(
                Query(
                    "abs(\n"
                    '  sum by (run) (headrace_gate_promised_transitions_total{run=~"$run"})\n'
                    '  - sum by (run) (headrace_gate_returned_transitions_total{run=~"$run"})\n'
                    '  - sum by (run) (headrace_gate_trained_transitions_total{run=~"$run"})\n'
                    '  - sum by (run) (headrace_gate_rejected_transitions_total{run=~"$run"})\n'
                    '  - sum by (run) (headrace_gate_lost_transitions_total{run=~"$run"})\n'
                    '  - sum by (run) (headrace_gate_alive_transitions{run=~"$run"})\n'
                    ")",
                    "unaccounted {{run}}",
                ),
            ),
            unit=COUNT,
            least=0,
            thresholds=(Threshold(1, ALARM_COLOR),),
        ),
    ),
)
