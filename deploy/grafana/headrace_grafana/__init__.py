"""Grafana's dashboards, written as Python: `generate.py` writes them as JSON."""
