"""What a run has learned: `restore` its agents, `play` episodes with their policies or by planning, `film` them.

A policy as a function is `policy`'s (`pbrl.load`), and `export` writes it for programs without pbrl.
Nothing here learns or writes into a run's checkpoints: going on with a run is `pbrl.train`'s.
The search behind planning is `pbrl.planning`'s, averages and curves of scores are `pbrl.report`'s.
"""
