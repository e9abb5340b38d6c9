"""Headrace's learner: trains batches, publishes weights, keeps checkpoints, evaluates and plays them."""
