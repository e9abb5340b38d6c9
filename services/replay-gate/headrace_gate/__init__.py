"""The replay-gate: grants credit to actors, queues their rollouts, and hands the learner batches."""
