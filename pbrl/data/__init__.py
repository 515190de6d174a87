"""Experience as pytrees, for one stream: the replay buffer, and which of its rows judge a model instead of training it.

When rows are stored and drawn is the affair of `train/`; how they are saved, of `runs/`.
"""
