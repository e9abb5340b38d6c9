"""What the optimizer does, and the schedules that it follows."""

from __future__ import annotations

from headrace_grafana.dashboard import Row
from headrace_grafana.expressions import largest
from headrace_grafana.panels import WARNING_COLOR, Query, Threshold, TimeSeries
from headrace_grafana.units import COUNT, NUMBER, SCIENTIFIC, SHARE

OPTIMIZATION = Row(
    "Optimization",
    (
        TimeSeries(
            title="Loss",
            shows="Of the newest update. Noisy, and not a measure of progress: targets move.",
            bad="It grows over many minutes, or jumps by powers of ten.",
            remedy="Lower HEADRACE_LEARNING_RATE, or HEADRACE_REWARD_CLIP where rewards are large.",
            queries=(Query(largest("headrace_learner_loss"), "loss {{run}}"),),
            unit=NUMBER,
            least=0,
        ),
        TimeSeries(
            title="Mean value of the actions taken (Q)",
            shows="Of the newest update: what the network expects, in clipped and discounted rewards.",
            bad="Far above what rewards can sum to, reward_clip / (1 - discount) at most: it diverges. "
            "0 for ever: it has seen no reward.",
            remedy="Diverging: lower HEADRACE_LEARNING_RATE; with a target network, set HEADRACE_DOUBLE_Q or a longer "
            "HEADRACE_TARGET_UPDATE_EVERY. 0: explore for longer.",
            queries=(Query(largest("headrace_learner_q_value_mean"), "value {{run}}"),),
            unit=NUMBER,
        ),
        TimeSeries(
            title="Gradient norm",
            shows="Before clipping, of the newest update.",
            bad="Nearly always above HEADRACE_GRADIENT_CLIP: clipping then sets the learning rate. "
            "The dashed line is that of the default, 1.",
            remedy="Lower HEADRACE_LEARNING_RATE. A norm of 0: look whether any reward comes.",
            queries=(Query(largest("headrace_learner_gradient_norm"), "norm {{run}}"),),
            unit=NUMBER,
            least=0,
            thresholds=(Threshold(1, WARNING_COLOR),),
        ),
        TimeSeries(
            title="Epsilon",
            shows="Mean share of random actions in the newest batch: falls from 1 over HEADRACE_EPSILON_DECAY_STEPS.",
            bad="It goes back up: the run was started anew, not resumed.",
            remedy="Set HEADRACE_RESUME=auto, and look whether the runs' volume is the one from before.",
            queries=(Query(largest("headrace_learner_epsilon"), "epsilon {{run}}"),),
            unit=SHARE,
            least=0,
            most=1,
        ),
        TimeSeries(
            title="Learning rate",
            shows="Falls to 0 over HEADRACE_LEARNING_RATE_DECAY_STEPS, which is all steps unless set.",
            bad="0 before the run ends: more steps were asked for when it was resumed, and schedules stayed.",
            remedy="Set HEADRACE_LEARNING_RATE_DECAY_STEPS to the new number of steps.",
            queries=(Query(largest("headrace_learner_learning_rate"), "learning rate {{run}}"),),
            unit=SCIENTIFIC,
            least=0,
        ),
        TimeSeries(
            title="Env steps",
            shows="Trained by the run, trained when the evaluated checkpoint was saved, and where the run ends.",
            bad="Trained goes back: the learner went on from an older checkpoint. "
            "Evaluated stays far behind: the evaluator takes longer than checkpoints come.",
            remedy="Going back by less than HEADRACE_SAVE_EVERY is what a crash costs. "
            "Behind: lower HEADRACE_EPISODES of the evaluator.",
            queries=(
                Query(largest("headrace_learner_env_steps"), "trained {{run}}"),
                Query(largest("headrace_evaluator_env_steps"), "evaluated {{run}}"),
                Query(largest("headrace_learner_target_env_steps"), "end of the run {{run}}"),
            ),
            unit=COUNT,
            least=0,
            limits=("end of the run",),
        ),
    ),
)
