"""Learned models of an environment: dynamics, reward and termination."""
