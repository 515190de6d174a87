"""Random search over numeric leaves of a config.

Here: spaces and draws, the ranking of trials with its files, and the run that measures a winner afresh.
Not here: the words of `pbrl sweep` and what it prints (`pbrl.cli`), or training: a sweep is a run (`pbrl.train`).
"""
