"""What is reported of runs: statistics over few seeds, and pictures of learning curves.

Here: means, interquartile means and bootstrap intervals; curves read off a run's log, and their panels.
Not here: what is said of a model (`pbrl.diagnose`), a sweep's ranking (`pbrl.sweep`), or what is printed (`pbrl.cli`).
"""
