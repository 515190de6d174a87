"""How far models, gradients and critics can be trusted: held against the truth, and told in words and pictures.

`diagnosis` asks about a run (`measure` has the numbers), `gradcheck` about an environment's own gradients.
Nothing here trains. `pbrl.train` asks for diagnoses as it goes, `pbrl.cli` for one afterwards.
"""
