"""Time the PyTorch code of the DHMBPO authors, from a checkout of their repository, on request.

`update_speed.py` starts this script under a Python that has torch; `protocol.py` says how they talk. Nothing of the
checkout is changed: agent, networks, buffers, normalisers and optimisers are its own, and so are the loops: those of
joint updates with their distribution rollouts (`SVGAgent.update`), of the critics alone (`mb_update_critic`) and of a
fit (`update_model`). Stand-ins take the place of hydra, which only calls constructors there, of tqdm's silent bars, of
scipy, whose test is for fewer than 1,000 held-out rows, and of the logger, which would write nothing at most steps.
"""

# pyright: reportMissingImports=false
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from protocol import arguments, serve, stub

EPOCH = 6  # batches at most, where `max_batch_iter` is 5


class Bar:
    """What is used of a silent `tqdm.trange`."""

    def __init__(self, count: int, **_):
        self.count = count

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        pass

    def __iter__(self):
        return iter(range(self.count))

    def set_postfix(self, *_, **__) -> None:
        """Show nothing."""


def instantiate(config: SimpleNamespace, *given, **changes):
    """Call `config.target` with the rest of the config."""
    settings = vars(config) | changes
    return settings.pop("target")(*given, **settings)


def stub_packages(checkout: str) -> None:
    """Put stand-ins for what the authors' files import besides torch and numpy."""
    stub("hydra.utils", instantiate=instantiate)
    stub("hydra", utils=sys.modules["hydra.utils"])
    stub("tqdm", trange=Bar)
    stub("scipy", stats=None)
    stub("erl_lib.util.logger", Logger=object)
    stub("erl_lib.envs", __path__=[str(Path(checkout) / "erl_lib/envs")])  # without its tasks, which want gymnasium


def stay_on_cpu() -> None:
    """Let batches stay where they are: both classes send them to "cuda" unless told otherwise, and are never told."""
    from erl_lib.base.datatype import TransitionBatch
    from erl_lib.util.misc import ReplayBuffer

    for kind in (TransitionBatch, ReplayBuffer):
        defaults = kind.__init__.__defaults__ or ()
        kind.__init__.__defaults__ = tuple("cpu" if x == "cuda" else x for x in defaults)


class Peer:
    """The authors' agent and buffers at the released settings of HalfCheetah."""

    def __init__(self, sizes: dict, transitions: int):
        from erl_lib.agent.model_based.model_train.de_trainer import DETrainer
        from erl_lib.agent.model_based.modules.gaussian_mlp import GaussianMLP
        from erl_lib.agent.module.actor.diag_gaussian import DiagGaussianActor
        from erl_lib.agent.module.critic.critic import EnsembleCriticNetwork
        from erl_lib.agent.svg import SVGAgent
        from erl_lib.envs.terminataion import LargeStateTermination

        widths = {width for name in ("actor", "critic", "model") for width in sizes[name]}
        assert len(widths) == 1 and len(sizes["model"]) == 3, "the worker takes one width, and three layers of a model"
        nothing = lambda *_, **__: None  # noqa: E731
        shape = {"dim_obs": sizes["obs"], "dim_act": sizes["action"], "dim_hidden": widths.pop()}
        self.agent = SVGAgent(
            dim_obs=sizes["obs"], dim_act=sizes["action"], device="cpu", silent=True, seed_iters=5,
            logger=SimpleNamespace(debug=nothing, warning=nothing), steps_per_iter=1000, iters_per_epoch=10,
            # config/agent/sac.yaml, sac_new.yaml
            actor=SimpleNamespace(target=DiagGaussianActor, **shape, num_hidden=len(sizes["actor"])),
            critic=SimpleNamespace(
                target=EnsembleCriticNetwork, **shape, num_hidden=len(sizes["critic"]), num_members=sizes["critics"],
                dropout_rate=1e-3, norm_eps=1e-5,
            ),
            batch_size=sizes["batch"], num_policy_opt_per_step=1, lr=3e-4, clip_grad_norm=0, critic_tau=0.005,
            critic_lr_ratio=1.0, reward_q_th_lb=0.01, normalize_po_input=True, normalized_reward=False,
            bounded_critic=True, scaled_critic=True, weighted_critic=False, actor_reduction="mean", init_alpha=0.1,
            lr_alpha=3e-4, entropy_balance=1.0,
            # config/agent/svg.yaml, dhmbpo.yaml
            term_fn=LargeStateTermination(), learned_reward=True, buffer_size=transitions, buffer_device="cpu",
            max_batch_size=100_000, warm_start=True, discount=0.995, num_critic_iter=None, split_validation=True,
            num_sample_weights=sizes["ensemble"], distribution_rollout_horizon=sizes["rollout"],
            training_rollout_horizon=sizes["horizon"], rollout_freq=sizes["rollout_every"], mve_horizon=1, uara=False,
            # config/agent/dynamics_model/deep_ensemble.yaml
            dynamics_model=SimpleNamespace(
                target=GaussianMLP, device="cpu", num_members=sizes["ensemble"], dim_hidden=shape["dim_hidden"],
                layer_norm=1.0, drop_rate_base=1e-2, activation_fn="SiLU", noise_wd=1e-2, lb_std=1e-3,
                weight_decay_base=1e-3, weight_decay_ratios=(0.25, 0.5, 0.75, 1.0), prediction_strategy="ts_1",
                uncertainty_bonus=False,
            ),
            # config/agent/model_train/*.yaml
            model_train=SimpleNamespace(
                init=SimpleNamespace(target=DETrainer, lr=1e-3, improvement_threshold=0.1, keep_threshold=0.5),
                model_batch_size=sizes["model_batch"], val_batch_size=sizes["model_batch"], val_batch_iter=5,
                max_batch_iter=EPOCH - 1, base_epochs=50, poisson_weights=False,
            ),
        )  # fmt: skip
        self.agent.model_trainer.logger = None  # which judges once more at the end of a fit, of hundreds of epochs
        self.fill(sizes, transitions)

    def fill(self, sizes: dict, transitions: int) -> None:
        """Store random transitions, as `observe` would one by one, and the states of a first distribution rollout."""
        obs, change = np.random.randn(2, transitions, sizes["obs"]).astype(np.float32)
        action = np.random.uniform(-1, 1, (transitions, sizes["action"]))
        reward, going_on = np.random.randn(transitions, 1), np.ones((transitions, 1))
        self.agent.replay_buffer.add_batch([obs, action, reward, obs + 0.1 * change, going_on])
        self.agent.input_normalizer.update_stats(obs)
        self.agent.output_normalizer.update_stats(np.hstack([reward, 0.1 * change]))
        self.agent.input_normalizer.to()
        self.agent.output_normalizer.to()
        self.agent.distribution_rollout()

    def update(self, steps: int) -> None:
        """Make so many joint updates, a distribution rollout before the first and every 20th from there."""
        self.agent.steps_per_iter = steps
        self.agent.update()

    def critics(self, steps: int) -> None:
        """Make so many updates of the critics alone."""
        self.agent.mb_update_critic(range(steps))

    def fit(self, steps: int) -> None:
        """Fit the ensemble in whole epochs of at least so many gradient steps, each with its look at held-out rows."""
        self.agent.max_epochs = math.ceil(steps / EPOCH)
        self.agent.update_model()


def main() -> None:
    options = arguments()
    stub_packages(options.checkout)
    stay_on_cpu()
    peer = Peer(options.sizes, options.transitions)
    serve({"update": peer.update, "critics": peer.critics, "model": peer.fit})


if __name__ == "__main__":
    main()
