"""What a person does with a deployment beside training: its keys, its checkpoints, its evaluator, its end."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from containers.conftest import Deploy
from containers.deployment import Deployment
from waiting import wait_until

SERVICES = ("replay-gate", "learner", "actor")
MINUTES = 60.0


@pytest.fixture(scope="module")
def deployment(deploy: Deploy) -> Deployment:
    """A short training of two actors, up and with a checkpoint that is better than none."""
    made = deploy(
        COMPOSE_PROFILES="eval", HEADRACE_GAME="CartPole-v1", HEADRACE_STEPS=100_000_000, HEADRACE_SAVE_EVERY=1_000
    )
    made.up(*SERVICES, "prometheus", actor=2)
    wait_until(lambda: made.value("headrace_learner_env_steps") > 2_000, 10 * MINUTES)
    return made


def test_a_checkpoint_of_the_volume_is_evaluated(deployment: Deployment) -> None:
    printed = deployment.compose("run", "--rm", "learner", "evaluate", "--episodes", "2", "--json")
    result = json.loads(printed)
    assert result["env_steps"] >= 1_000
    assert len(result["scores"]) == 2


def test_a_game_is_recorded_into_the_volume_and_copied_from_it(deployment: Deployment, tmp_path: Path) -> None:
    deployment.compose("run", "--rm", "learner", "play", "--record", "/runs/game.mp4")
    deployment.compose("cp", "learner:/runs/game.mp4", str(tmp_path))
    with av.open(str(tmp_path / "game.mp4")) as video:
        assert len(list(video.decode(video=0))) > 1


def test_the_keys_are_shown_without_the_secret_ones(deployment: Deployment) -> None:
    shown = deployment.compose("run", "--rm", "keys", "show").splitlines()
    assert [line.split()[0] for line in shown] == ["gate", "learner", "actor"]
    assert {line.split()[2] for line in shown} == {"current"}


def test_the_evaluator_follows_and_prometheus_finds_it(deployment: Deployment) -> None:
    deployment.compose("up", "--detach", "--wait", "--no-build", "--no-recreate", "evaluator")
    wait_until(lambda: deployment.value("headrace_evaluator_evaluations_total") >= 1, 10 * MINUTES)
    assert deployment.value("headrace_evaluator_return_mean") > 0
    assert deployment.query("headrace_evaluator_epsilon")[0][1] == 0


def test_every_container_ends_well_when_all_are_stopped(deployment: Deployment) -> None:
    deployment.compose("stop")
    for service in (*SERVICES, "keys", "evaluator", "prometheus"):
        states = [container["State"] for container in deployment.containers(service)]
        assert [state["ExitCode"] for state in states] == [0] * len(states)
        assert states
        assert not any(state["Running"] for state in states)
    assert '"finished": false' in deployment.logs("learner")


def test_without_a_setting_for_it_the_learner_goes_on_where_it_stopped(deployment: Deployment) -> None:
    before = json.loads(
        deployment.compose("run", "--rm", "--no-deps", "learner", "evaluate", "--episodes", "1", "--json")
    )
    deployment.up(*SERVICES, "prometheus", actor=1)
    started = [line for line in deployment.logs("learner", tail=2_000).splitlines() if '"event": "started"' in line]
    assert f'"env_steps": {before["env_steps"]},' in started[-1]


def test_down_leaves_nobody_behind(deployment: Deployment) -> None:
    deployment.up("evaluator")
    deployment.compose("down")
    assert [
        service for service in (*SERVICES, "keys", "evaluator", "prometheus") if deployment.containers(service)
    ] == []
