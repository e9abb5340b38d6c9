"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

from headrace_proto import reference

DOCS = Path(__file__).parents[2] / "docs"
AGAIN = "make it again: python -m headrace_proto.reference"


def test_the_settings_page_lists_every_setting_as_it_is() -> None:
    assert (DOCS / "settings.md").read_text() == reference.settings_page(), AGAIN


def test_the_metrics_page_lists_every_metric_as_it_is() -> None:
    assert (DOCS / "metrics.md").read_text() == reference.metrics_page(), AGAIN


def test_the_metrics_page_shows_labels_that_no_sample_has_yet() -> None:
    lines = reference.metrics_page().splitlines()
    cut = {line for line in lines if line.startswith("| `headrace_connections_cut_total`")}
    assert cut == {
        "| `headrace_connections_cut_total` | counter | reason, socket "
        "| Connections that this service has ended for what they did, by reason. |"
    }
