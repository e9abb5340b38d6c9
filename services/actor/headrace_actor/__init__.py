"""The actor: plays games against credit from the gate and sends it rollouts."""
