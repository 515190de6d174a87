"""Acting by planning: an agent's own model and critics search for an action, at test time.

`cem` is the search and `config` what it can be told. Playing episodes with it is `pbrl.trained.play`'s.
Imagination inside an update is not planning: agents do that themselves, by `pbrl.equations.rollout`.
"""
