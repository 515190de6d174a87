"""Time the PyTorch code of the SAC-SVG(H) authors, from a checkout of their repository, on request.

`update_speed.py` starts this script under a Python that has torch; `protocol.py` says how they talk. Nothing of the
checkout is changed: agent, networks, optimisers and replay buffer are its own, and so is the loop
(`SACSVGAgent.update`), told to make no model steps (`update`) or nothing else (`model`). Stand-ins take the place of
hydra, which only calls constructors there, of gym and dmc2gym, which only environments use, of sortedcontainers' set,
which stays empty as no episode ends, and of the logger, which would write nothing at most steps.
"""

# pyright: reportMissingImports=false
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from protocol import arguments, serve, stub


class Peer:
    """The authors' agent and buffer at the released settings of HalfCheetah, past the warm-up."""

    def __init__(self, sizes: dict, transitions: int):
        from svg.actor import Actor
        from svg.agent import SACSVGAgent
        from svg.critic import DoubleQCritic
        from svg.dx import SeqDx
        from svg.replay_buffer import ReplayBuffer
        from svg.temp import LearnTemp

        widths = {width for name in ("actor", "critic", "encoder", "head") for width in sizes[name]}
        assert widths == {sizes["recurrent"]}, "the worker takes one width for all layers"
        width, cpu = sizes["recurrent"], torch.device("cpu")
        env = {"obs_dim": sizes["obs"], "action_dim": sizes["action"]}
        bounded = {"env_name": "mbpo_cheetah", "action_range": [-1.0, 1.0], **env}
        actions = sizes["horizon"] + 1  # what the code calls horizon
        total_steps, self.step = 2_000_000, 20_000
        self.agent = SACSVGAgent(
            **bounded, device=cpu, num_train_steps=total_steps,
            dx_cfg=partial(
                SeqDx, **bounded, horizon=actions, device=cpu, detach_xt=True, clip_grad_norm=1.0,
                xu_enc_hidden_dim=width, xu_enc_hidden_depth=len(sizes["encoder"]), x_dec_hidden_dim=width,
                x_dec_hidden_depth=0, rec_type="GRU", rec_latent_dim=width, rec_num_layers=sizes["recurrent_layers"],
                lr=1e-3,
            ),
            temp_cfg=partial(
                LearnTemp, init_temp=0.1, max_steps=total_steps, init_targ_entr=-2, final_targ_entr=-3,
                entr_decay_factor=1.0, only_decrease_alpha=False, lr=1e-4, device=cpu,
            ),
            actor_cfg=partial(
                Actor, **env, hidden_dim=width, hidden_depth=len(sizes["actor"]), log_std_bounds=[-5, 2]
            ),
            actor_lr=1e-4, actor_betas=[0.9, 0.999], actor_update_freq=1, actor_mve=True, actor_detach_rho=False,
            actor_dx_threshold=None,
            critic_cfg=partial(DoubleQCritic, **env, hidden_dim=width, hidden_depth=len(sizes["critic"])),
            critic_lr=1e-4, critic_tau=0.005, critic_target_update_freq=1, critic_target_mve=False,
            full_target_mve=False, discount=0.99, seq_batch_size=sizes["model_batch"], seq_train_length=actions,
            step_batch_size=sizes["batch"], update_freq=1, model_update_freq=1,
            rew_hidden_dim=width, rew_hidden_depth=len(sizes["head"]), rew_lr=1e-3,
            done_hidden_dim=width, done_hidden_depth=len(sizes["head"]), done_lr=1e-3, done_ctrl_accum=True,
            model_update_repeat=4, model_free_update_repeat=1, horizon=actions, warmup_steps=10_000, det_suffix=0.0,
        )  # fmt: skip
        nothing = lambda *_: None  # noqa: E731
        self.logger = SimpleNamespace(log=nothing, log_histogram=nothing, log_param=nothing)
        self.buffer = ReplayBuffer((sizes["obs"],), (sizes["action"],), transitions, cpu, normalize_obs=True)
        for _ in range(transitions):
            obs, change = np.random.randn(2, sizes["obs"]).astype(np.float32)
            action = np.random.uniform(-1, 1, sizes["action"]).astype(np.float32)
            self.buffer.add(obs, action, np.random.randn(), obs + 0.1 * change, False, False)

    def run(self, updates: int, model_steps: int) -> None:
        """Let the agent learn from the buffer as at one environment step, so many times each."""
        self.agent.model_free_update_repeat, self.agent.model_update_repeat = updates, model_steps
        self.agent.update(self.buffer, self.logger, self.step)


def main() -> None:
    options = arguments()
    stub("hydra", utils=SimpleNamespace(instantiate=lambda make: make()))
    stub("gym", Wrapper=object, ActionWrapper=object, spaces=None)
    stub("dmc2gym")
    stub("sortedcontainers", SortedSet=set)
    peer = Peer(options.sizes, options.transitions)
    serve({"update": lambda steps: peer.run(steps, 0), "model": lambda steps: peer.run(0, steps)})


if __name__ == "__main__":
    main()
