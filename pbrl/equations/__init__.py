"""One equation, one function: no state, no networks, every array's shape checked where a wrong one would broadcast.

`actor_critic` has what needs no model: targets, losses, policies, temperature. `expansion` looks H steps ahead:
trajectories, value expansions, STEVE. Which of them an algorithm uses, and in which order, is said in `agents/`.
"""
