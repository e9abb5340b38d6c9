"""Headrace on one machine: the `headrace` command, which runs gate, learner and actors as processes and shows them."""
