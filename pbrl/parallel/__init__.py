"""Many devices and many hosts: how seeds are laid over them, and how the processes of a job speak to each other.

What is here knows arrays, functions and processes; it knows no agent, no run and no training loop.
Which seeds of a run are a process' own says `pbrl.runs.placement.share`; when processes meet, `pbrl.train.host_sync`.
"""
