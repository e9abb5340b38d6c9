"""PromQL that several panels share. Every selector keeps to the dashboard's runs."""

from __future__ import annotations


def quantile(share: float, histogram: str) -> str:
    """A quantile of a histogram over 5 minutes, of all processes of a run together."""
    return f'histogram_quantile({share}, sum by (run, le) (rate({histogram}_bucket{{run=~"$run"}}[5m])))'


def summed(metric: str) -> str:
    """A gauge or counter, summed over the processes and labels of a run."""
    return f'sum by (run) ({metric}{{run=~"$run"}})'


def largest(metric: str) -> str:
    """The largest value of a gauge among the processes of a run."""
    return f'max by (run) ({metric}{{run=~"$run"}})'


def rate(metric: str, *by: str) -> str:
    """A counter's rate a second, by run and perhaps by more."""
    return f'sum by ({", ".join(("run", *by))}) (rate({metric}{{run=~"$run"}}[$__rate_interval]))'


def within_five_minutes(metric: str, *by: str) -> str:
    """How much a counter grew within the last 5 minutes: what is rare stays in sight for as long."""
    return f'sum by ({", ".join(("run", *by))}) (increase({metric}{{run=~"$run"}}[5m]))'
