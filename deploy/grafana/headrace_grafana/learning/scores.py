"""What the games brought."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import largest
from headrace_grafana.panels import Heatmap, Query, TimeSeries
from headrace_grafana.units import SCORE, STEPS

SCORES = Row(
    "Scores",
    (
        TimeSeries(
            title="Return of training episodes and evaluated score",
            shows="Raw scores: the mean of the last 100 trained games, played with exploration, "
            "and the evaluator's mean for its newest checkpoint.",
            bad="The evaluated score falls while the training return does not: the policy leans on exploration. "
            "Both stay flat: nothing is learned.",
            remedy="Give it the steps that docs/results names for the game; then look at loss, value and epsilon.",
            queries=(
                Query(largest("headrace_evaluator_return_mean"), "evaluated {{run}}"),
                Query(largest("headrace_learner_episode_return_mean"), "training {{run}}"),
            ),
            unit=SCORE,
            width=12,
        ),
        TimeSeries(
            title="The evaluator's games",
            shows="Highest, mean, median and lowest raw score of the games of one evaluation.",
            bad="The lowest stays where it was: some games end at once. "
            "The mean jumps by more than the median: too few games.",
            remedy="Watch one: docker compose run --rm learner play --record /runs/game.mp4. "
            "Too few: raise HEADRACE_EPISODES of the evaluator.",
            queries=tuple(
                Query(largest(f"headrace_evaluator_return_{which}"), f"{name} {{{{run}}}}")
                for which, name in (("max", "highest"), ("mean", "mean"), ("median", "median"), ("min", "lowest"))
            ),
            unit=SCORE,
            width=12,
        ),
        Heatmap(
            title="Returns of the actors' games",
            shows="How many games ended within 5 minutes, by raw score.",
            bad="Two bands that do not join: actors with a high epsilon hold the mean down, which is normal. "
            "No cells for many minutes: no game ends.",
            remedy="Judge by the evaluated score. Where no game ends, lower HEADRACE_MAX_EPISODE_FRAMES.",
            queries=(Query('sum by (le) (increase(headrace_actor_episode_return_bucket{run=~"$run"}[5m]))', "{{le}}"),),
            unit=SCORE,
        ),
        TimeSeries(
            title="Episode length",
            shows="Env steps of the actors' games that ended within 5 minutes: their mean, and the longest tenth.",
            bad="It falls back to that of random play. In a game that rewards nothing for surviving: "
            "it grows while the return does not.",
            remedy="Falling: look at loss and value. Growing alone: watch a game, the agent may be avoiding its end.",
            queries=(
                Query(
                    'sum by (run) (rate(headrace_actor_episode_length_steps_sum{run=~"$run"}[5m]))\n'
                    '/ sum by (run) (rate(headrace_actor_episode_length_steps_count{run=~"$run"}[5m]))',
                    "mean {{run}}",
                ),
                Query(
                    "histogram_quantile(0.9, sum by (run, le) "
                    '(rate(headrace_actor_episode_length_steps_bucket{run=~"$run"}[5m])))',
                    "90 % are shorter {{run}}",
                ),
            ),
            unit=STEPS,
            width=12,
            least=0,
        ),
    ),
)
