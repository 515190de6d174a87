"""How many operations the phases of `workloads.py` need, from their sizes.

Counts are of floating-point operations in matrix products that the algorithm needs. With W weights in a network, B rows
cost 2BW forward, 2BW back to its inputs and 2BW for the gradients of its weights; what nothing asks for, such as the
gradient of data or a product with a hidden state of zeros, is not counted. Element-wise work, normalisation, optimisers
and whatever padding adds are left out.
"""

from itertools import pairwise
from typing import Any

from pbrl.data import validation

TRANSITIONS = 4096  # in both replay buffers, unless the sizes say otherwise
EPOCHS = 4  # of a timed fit that held-out rows stop

Sizes = dict[str, Any]


def _weights(inputs: int, hidden: list[int], outputs: int) -> tuple[int, int]:
    """Return how many weights a network has, and how many of them are the first layer's."""
    layers = [a * b for a, b in pairwise([inputs, *hidden, outputs])]
    return sum(layers), layers[0]


def mage_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of MAGE, averaged over the actor's delay."""
    obs, action = sizes["obs"], sizes["action"]
    actor, first_actor = _weights(obs, sizes["actor"], action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], 2 * obs)
    target = 2 * (model + actor + 2 * critic)  # y: one member a row, target actor, two target critics; then ∇ₐy
    # Of each critic: Q and ∇ₐQ (2 W), then, for the loss, back through both (2 W, save that nothing asks for
    # the gradient of the first layer's inputs) and the gradients of the weights in both (2 W).
    loss = 2 * (6 * critic - first_critic)
    # Actor, every second time: its pass, both critics and back to the action, its weights and back to its first layer.
    policy = (actor + 2 * 2 * critic + 2 * actor - first_actor) / 2
    return 2.0 * sizes["batch"] * (actor + target + loss + policy)  # the first `actor` is a = π(s)


def mage_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on all members of MAGE's ensemble."""
    weights, first = _weights(sizes["obs"] + sizes["action"], sizes["model"], 2 * sizes["obs"])
    return 2.0 * sizes["ensemble"] * sizes["model_batch"] * (3 * weights - first)  # forward, weights, back to layer 1


def svg_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of SVG past its warm-up: critics, actor through H model steps, both heads."""
    obs, action, horizon = sizes["obs"], sizes["action"], sizes["horizon"]
    actor, first_actor = _weights(obs, sizes["actor"], 2 * action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    head, first_head = _weights(obs + action, sizes["head"], 1)
    critics = actor + 2 * critic + 2 * (3 * critic - first_critic)  # the target's networks; both critics' loss
    # H + 1 actions, H model steps with reward and termination, both critics: there, and back to the first action and
    # to every later state; then the actor's weights. Nothing asks for the gradient of the first state.
    path = (horizon + 1) * actor + _model_weights(sizes) + 2 * horizon * head + 2 * critic
    unasked = first_actor + obs * (sizes["encoder"][0] + 2 * sizes["head"][0])
    policy = 2 * path - unasked + (horizon + 1) * actor
    heads = 2 * (3 * head - first_head)  # one gradient step each
    return 2.0 * sizes["batch"] * (critics + policy + heads)


def svg_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on SVG's dynamics; predicted states hand no gradient back."""
    inputs = sizes["horizon"] * (sizes["obs"] + sizes["action"]) * sizes["encoder"][0]
    return 2.0 * sizes["model_batch"] * (3 * _model_weights(sizes) - inputs)


def _model_weights(sizes: Sizes) -> int:
    """Return how many weights H steps of the recurrent model use; the first needs none for its hidden state of 0."""
    width, horizon = sizes["recurrent"], sizes["horizon"]
    encoder, _ = _weights(sizes["obs"] + sizes["action"], sizes["encoder"], width)
    gates = 3 * width**2 * sizes["recurrent_layers"]  # of the input, and as many of the hidden state
    return horizon * (encoder + gates + width * sizes["obs"]) + (horizon - 1) * gates


def maac_update_flops(sizes: Sizes) -> float:
    """Count the operations of one update of MAAC as released: STEVE's targets, critics, actor through H model steps."""
    obs, action, horizon, candidates = sizes["obs"], sizes["action"], sizes["horizon"], sizes["target_horizon"]
    actor, first_actor = _weights(obs, sizes["actor"], 2 * action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], 2 * obs)
    each, critics = candidates * sizes["target_members"], sizes["critics"]
    steps = max(candidates - 1, 0)  # that candidates share
    targets = (each + steps + 1) * actor + critics * (1 + each) * critic + (each + steps) * model
    # H + 1 policies, H model steps of one member a row, the critics at N last actions: there and back, then the actor's
    # weights. Nothing asks for the gradient of the first state.
    path = (horizon + 1) * actor + horizon * model + sizes["samples"] * critics * critic
    unasked = first_actor + obs * (sizes["model"][0] if horizon else sizes["samples"] * critics * sizes["critic"][0])
    policy = 2 * path - unasked + (horizon + 1) * actor
    return 2.0 * sizes["batch"] * (targets + critics * (3 * critic - first_critic) + policy)


def maac_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on MAAC's ensemble, with its share of judging the held-out rows."""
    return mage_model_flops(sizes) + _judging(
        sizes, _weights(sizes["obs"] + sizes["action"], sizes["model"], 2 * sizes["obs"])[0]
    )


def dhmbpo_update_flops(sizes: Sizes) -> float:
    """Count the operations of one joint update of DHMBPO, with its share of the rollout that makes its states.

    The training rollout goes once forward and once back: it is both the critics' and the actor's. Nothing asks for the
    rewards of the other one.
    """
    obs, action, horizon, critics = sizes["obs"], sizes["action"], sizes["horizon"], sizes["critics"]
    actor, first_actor = _weights(obs, sizes["actor"], 2 * action)
    critic, first_critic = _weights(obs + action, sizes["critic"], 1)
    model, _ = _weights(obs + action, sizes["model"], obs)
    reward, _ = _weights(2 * obs + action, sizes["head"], 1)
    values = sizes["target_subset"] * critic + critics * (3 * critic - first_critic)  # the target's, all critics' loss
    # H + 1 actions, H steps of one member a row with their rewards, all critics at the end: there and back, then the
    # actor's weights. Nothing asks for the gradient of the first state.
    path = (horizon + 1) * actor + horizon * (model + reward) + critics * critic
    unasked = first_actor + obs * (sizes["model"][0] + sizes["head"][0])
    policy = 2 * path - unasked + (horizon + 1) * actor
    states = sizes["rollout"] / sizes["rollout_every"] * (actor + model)  # of as many rows
    return 2.0 * sizes["batch"] * (values + policy + states)


def dhmbpo_model_flops(sizes: Sizes) -> float:
    """Count the operations of one gradient step on DHMBPO's ensemble and reward, with its share of judging."""
    obs, action = sizes["obs"], sizes["action"]
    model, first = _weights(obs + action, sizes["model"], obs)  # a deviation is no output
    members = sizes["ensemble"] * (3 * model - first)
    reward, first = _weights(2 * obs + action, sizes["head"], 1)
    return 2.0 * sizes["model_batch"] * (members + 3 * reward - first) + _judging(sizes, model)


def _judging(sizes: Sizes, weights: int) -> float:
    """Count what each gradient step costs on held-out rows, which a fit judges before its first epoch and after each.

    Every member, of so many weights, judges its own.
    """
    judged = 2.0 * sizes["ensemble"] * (rows(sizes) // validation.BLOCK) * weights
    return (EPOCHS + 1) / EPOCHS * judged / epoch(sizes)


def rows(sizes: Sizes) -> int:
    """Return how many transitions replay holds."""
    return sizes.get("transitions", TRANSITIONS)


def epoch(sizes: Sizes) -> int:
    """Return how many gradient steps an epoch has, where held-out rows stop a fit."""
    return (validation.BLOCK - 1) * (rows(sizes) // validation.BLOCK) // sizes["model_batch"]
