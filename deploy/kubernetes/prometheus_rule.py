"""Writes `components/monitoring/rules.yaml` from Prometheus's rules: `python deploy/kubernetes/prometheus_rule.py`.

The operator takes rules in an object of its own, and kustomize cannot put a file into a field.
"""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[1]
RULES = ("recording.yml", "alerts.yml", "kubernetes.yml")
WRITTEN = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"

HEAD = """\
# Written by deploy/kubernetes/prometheus_rule.py from deploy/prometheus: change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: headrace
spec:
  groups:
"""


def text() -> str:
    """The object with the groups of every file of rules, their comments too."""
    return HEAD + "\n".join(_groups(DEPLOY / "prometheus" / name) for name in RULES)


def _groups(path: Path) -> str:
    _, _, groups = path.read_text().partition("\ngroups:\n")
    return "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    WRITTEN.write_text(text())
    print(WRITTEN)
