"""Images built once, and compose projects that leave nothing behind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
from containers.deployment import IMAGE_TAG, Deployment, clean_clone, run

Deploy = Callable[..., Deployment]

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tag of each service's image, built from a clean clone."""
    clone = clean_clone(tmp_path_factory.mktemp("build"))
    run(["docker", "compose", "--progress", "quiet", "build"], clone, IMAGE_TAG=IMAGE_TAG, REVISION=REVISION)
    return {name: f"headrace/{name}:{IMAGE_TAG}" for name in ("replay-gate", "learner", "actor")}


@pytest.fixture(scope="module")
def deploy(
    images: dict[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Deploy]:
    """`deploy(HEADRACE_GAME="CartPole-v1")`: a deployment with this `.env`, not yet up, removed after the module.

    If a test has failed, the ends of the services' logs are printed.
    """
    made: list[Deployment] = []

    def make(**settings: str | int) -> Deployment:
        clone = clean_clone(tmp_path_factory.mktemp("clone"))
        made.append(Deployment(clone, f"headrace-test-{secrets.token_hex(4)}", settings))
        return made[-1]

    failed_before = request.session.testsfailed
    yield make
    for deployment in made:
        if request.session.testsfailed > failed_before:
            print(deployment.logs())
        deployment.down()
