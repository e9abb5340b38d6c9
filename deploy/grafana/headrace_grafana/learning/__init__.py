"""The dashboard *Learning*: whether the agent gets better, and what the optimizer does meanwhile."""

from __future__ import annotations

from headrace_grafana.dashboard import Dashboard
from headrace_grafana.learning.now import NOW
from headrace_grafana.learning.optimization import OPTIMIZATION
from headrace_grafana.learning.processes import PROCESSES
from headrace_grafana.learning.replay import REPLAY
from headrace_grafana.learning.scores import SCORES

LEARNING = Dashboard(
    name="learning",
    title="Headrace: Learning",
    description="Whether the agent gets better, and what the optimizer does meanwhile.",
    rows=(NOW, SCORES, OPTIMIZATION, REPLAY, PROCESSES),
)
