"""How a service's main ends: one line for whoever reads it, and a status that says why."""

from __future__ import annotations

import pytest

from headrace_proto.errors import HeadraceError, NonFiniteError, UserError
from headrace_proto.lifecycle import run_main


def raising(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("a mistake"), 2), (NonFiniteError("the loss is nan"), 3), (HeadraceError("a stranger was let in"), 1)],
)
def test_an_error_of_ours_is_one_line_and_a_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: raising(error))
    assert ended.value.code == status
    assert capsys.readouterr().err == f"error: {error}\n"


def test_an_error_that_has_another_behind_it_keeps_its_traceback() -> None:
    with pytest.raises(HeadraceError):
        run_main(lambda: raising(HeadraceError("a thread has died"), ZeroDivisionError()))


def test_a_main_that_ends_is_left_alone() -> None:
    run_main(lambda: None)
