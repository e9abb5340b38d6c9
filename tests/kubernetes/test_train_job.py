"""The component `train-job` on a real cluster: a run that ends, and everybody who trained with it."""

from __future__ import annotations

from kubernetes.conftest import MakeNamespace
from kubernetes_cluster import MINUTES, until

STEPS = 200_000


def test_a_finite_run_trains_its_steps_and_its_jobs_complete(make_namespace: MakeNamespace) -> None:
    run = make_namespace("headrace-test-job", {"runs": "runs", "gate-state": "gate"})
    run.apply("train-job")

    def completed() -> set[str]:
        jobs = run.objects("jobs")
        assert not [each for job in jobs for each in job["status"].get("conditions", []) if each["type"] == "Failed"]
        return {job["metadata"]["name"] for job in jobs if "completionTime" in job["status"]}

    until(lambda: completed() == {"learner", "actor"}, 20 * MINUTES)

    (learner,) = run.pods("learner")
    (stopped,) = (line for line in run.logs(learner) if line["event"] == "stopped")
    assert stopped["finished"]
    assert stopped["env_steps"] >= STEPS
    ended = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in run.pods("actor").values()]
    assert [each["exitCode"] for each in ended] == [0] * 4
    account = run.account()
    assert (account["run_finished"], account["actors"]) == (1, 0)
    assert account["trained_transitions_total"] >= STEPS
    run.assert_account_closes()
