"""One run: what it is, where its luck comes from, and what it leaves in its folder (log, checkpoints, manifest).

Nothing here trains. The loops that write these files are in `pbrl.train`; `pbrl.trained` reads what was learned.
Curves and tables over several runs are `pbrl.report`'s.
"""
