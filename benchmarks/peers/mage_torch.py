"""Time the PyTorch code of the MAGE authors, from a checkout of their repository, on request.

`update_speed.py` starts this script under a Python that has torch; `protocol.py` says how they talk. Nothing of the
checkout is changed: agent, model, normaliser, buffer, RAdam, imagination, reward and termination functions are its own.
Only the loops around them are restated here, from `train_agent` and `model_train_epoch` of its `main.py`, because
`main.py` cannot be imported without sacred and neptune; and gym, from which the environment files inherit, is replaced
by empty classes.
"""

# pyright: reportMissingImports=false
import torch
from protocol import arguments, serve, stub


def stub_gym() -> None:
    """Put empty stand-ins for the parts of gym that the environment files name, so that they import."""

    class Env:
        metadata: dict = {}  # noqa: RUF012

    stub("gym", Env=Env)
    stub("gym.envs")
    stub("gym.envs.registration", register=lambda **_: None)
    stub("gym.envs.mujoco", HalfCheetahEnv=Env)
    stub("gym.envs.classic_control", PendulumEnv=Env)


class Peer:
    """The authors' agent, model and buffer of one task, and their two inner loops."""

    def __init__(self, task: str, sizes: dict, transitions: int):
        from buffer import Buffer
        from imagination import SingleStepImagination
        from models import Model
        from normalizer import TransitionNormalizer
        from radam import RAdam
        from td3 import TD3

        if task == "halfcheetah":
            from envs.gymmb.cheetah import GYMMB_HalfCheetah as Task
        else:
            from envs.gymmb.pendulum import GYMMB_Pendulum as Task

        cpu = torch.device("cpu")
        obs, action = sizes["obs"], sizes["action"]
        self.task, self.is_done = Task.tasks()["standard"], Task.is_done
        self.imagination, self.batch, self.model_batch = SingleStepImagination, sizes["batch"], sizes["model_batch"]
        self.agent = TD3(
            d_state=obs, d_action=action, device=cpu, gamma=0.99, tau=0.005, policy_lr=1e-4, value_lr=1e-4,
            value_loss="huber", value_n_layers=len(sizes["critic"]), value_n_units=sizes["critic"][0],
            value_activation="swish", policy_n_layers=len(sizes["actor"]), policy_n_units=sizes["actor"][0],
            policy_activation="swish", grad_clip=5, policy_delay=2, expl_noise=0.1, tdg_error_weight=5.0,
            td_error_weight=1.0,
        )  # fmt: skip
        self.model = Model(
            d_action=action, d_state=obs, n_units=sizes["model"][0], n_layers=len(sizes["model"]),
            ensemble_size=sizes["ensemble"], activation="swish", device=cpu,
        )  # fmt: skip
        self.model_optimizer = RAdam(self.model.parameters(), lr=1e-4, weight_decay=1e-4)
        self.buffer = Buffer(obs, action, transitions)
        self.buffer.setup_normalizer(TransitionNormalizer(obs, action, cpu))
        state = torch.randn(transitions, obs)
        step = 0.1 * torch.randn(transitions, obs)
        self.buffer.add(state, 2 * torch.rand(transitions, action) - 1, state + step, torch.randn(transitions, 1))
        self.agent.setup_normalizer(self.buffer.normalizer)
        self.model.setup_normalizer(self.buffer.normalizer)

    def update(self, steps: int) -> None:
        """Run `steps` iterations of `train_agent`: imagine a batch, update the critics, every second time the actor."""
        initial_states, _, _, _ = self.buffer.view()
        imagination = self.imagination(self.model, initial_states, self.batch, "ensemble")
        for _ in range(steps):
            states, actions, logps, next_states = imagination.many_steps(self.agent)
            rewards = self.task(states, actions, next_states)
            dones = self.is_done(next_states)
            self.agent.update(states, actions, logps, rewards, next_states, masks=~dones)

    def fit(self, steps: int) -> None:
        """Take `steps` gradient steps on the ensemble, as `model_train_epoch` does, over as many epochs as needed."""
        done = 0
        while done < steps:
            for states, actions, deltas in self.buffer.train_batches(self.model.ensemble_size, self.model_batch):
                self.model_optimizer.zero_grad()
                loss = self.model.loss(states, actions, deltas)
                loss.item()
                loss.backward()
                torch.nn.utils.clip_grad_value_(self.model.parameters(), clip_value=5)
                self.model_optimizer.step()
                done += 1
                if done == steps:
                    break


def main() -> None:
    options = arguments()
    stub_gym()
    peer = Peer(options.task, options.sizes, options.transitions)
    serve({"update": peer.update, "model": peer.fit})


if __name__ == "__main__":
    main()
