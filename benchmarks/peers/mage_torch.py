"""Time the PyTorch code of the MAGE authors, from a checkout of their repository, on request.

`update_speed.py` starts this script under a Python that has torch and talks to it in lines: a command on standard
input (`threads 2`, `time update 10`, `time model 16`, `flops update`, `flops model`, `stop`), one JSON object on
standard output. Between commands the process blocks on its input. Nothing of the checkout is changed: agent, model,
normaliser, buffer, RAdam, imagination, reward and termination functions are its own. Only the loops around them are
restated here, from `train_agent` and `model_train_epoch` of its `main.py`, because `main.py` cannot be imported
without sacred and neptune; and gym, from which the environment files inherit, is replaced by empty classes.
"""

# pyright: reportMissingImports=false
import argparse
import json
import resource
import sys
import time
import types
import warnings

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode


def stub_gym() -> None:
    """Put empty stand-ins for the parts of gym that the environment files name, so that they import."""

    class Env:
        metadata: dict = {}  # noqa: RUF012

    def module(name: str, **attributes) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)

    module("gym", Env=Env)
    module("gym.envs")
    module("gym.envs.registration", register=lambda **_: None)
    module("gym.envs.mujoco", HalfCheetahEnv=Env)
    module("gym.envs.classic_control", PendulumEnv=Env)


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


def answer(peer: Peer, words: list[str]) -> dict:
    """Carry out one command and return what to print."""
    if words[0] == "threads":
        torch.set_num_threads(int(words[1]))
        return {"threads": torch.get_num_threads()}
    loop = {"update": peer.update, "model": peer.fit}[words[1]]
    if words[0] == "flops":  # two updates are one with and one without the actor
        with FlopCounterMode(display=False) as counter:
            loop(2)
        return {"gflop": counter.get_total_flops() / 2e9}
    steps = int(words[2])
    begin = time.perf_counter()
    loop(steps)
    elapsed = time.perf_counter() - begin
    return {
        "ms": elapsed * 1e3 / steps,
        "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", help="folder of the authors' repository")
    parser.add_argument("--task", choices=["halfcheetah", "pendulum"], required=True)
    parser.add_argument("--sizes", type=json.loads, required=True)
    parser.add_argument("--transitions", type=int, required=True)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    sys.path.insert(0, options.checkout)
    stub_gym()
    np.random.seed(0)
    torch.manual_seed(0)
    peer = Peer(options.task, options.sizes, options.transitions)
    print(json.dumps({"torch": torch.__version__, "mkl": torch.backends.mkl.is_available()}), flush=True)
    idle_from = time.process_time()
    for line in sys.stdin:
        if line.strip() == "stop":
            return
        idle_cpu_s = time.process_time() - idle_from  # above zero where threads spin while the other side is timed
        reply = answer(peer, line.split())
        idle_from = time.process_time()
        print(json.dumps(reply | {"idle_cpu_s": idle_cpu_s}), flush=True)


if __name__ == "__main__":
    main()
