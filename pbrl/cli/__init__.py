"""The command line: `main` dispatches, one file a subcommand, and what they share (`options`, `words`, `display` …).

Here: words into a run, what a user sees, exit codes, how a process is set up. Only `pbrl` and `examples/` import it.
Not here: anything that a program of one's own would call; it lives in the rooms below, none of which imports this one.
"""
