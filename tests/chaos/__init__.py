"""Chaos: the real services under faults from a seeded schedule (docs/guarantees.md)."""
