"""MAGE, Proposition 3.1: the policy gradient's error against its bound by the error of the critic's action gradient.

    python benchmarks/paper/mage_bound.py

Writes benchmarks/results/mage-bound.json. Two hundred random linear systems of three states and two actions with
quadratic rewards, a linear policy, and critics that are the exact Q plus a random quadratic. All is in closed form or a
finite sum, in float64; seconds. With a = K s the policy's own Jacobian is bounded by the largest ‖s‖ that is visited.
"""

import json
from pathlib import Path

import numpy as np

RESULT = Path(__file__).parents[1] / "results" / "mage-bound.json"
SYSTEMS, STATES, ACTIONS, STARTS, STEPS, DISCOUNT = 200, 3, 2, 16, 200, 0.9


def value(a: np.ndarray, b: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return P of V(s) = -s'Ps for rewards -(s's + u'u) under u = K s, from its fixed point."""
    closed, p = a + b @ k, np.zeros((STATES, STATES))
    for _ in range(400):
        p = np.eye(STATES) + k.T @ k + DISCOUNT * closed.T @ p @ closed
    return p


def ratio(rng: np.random.Generator) -> tuple[float, float]:
    """Return, for one system, the gradient's error over its bound, and how far ∇J is from finite differences."""
    a, b = rng.normal(size=(STATES, STATES)), rng.normal(size=(STATES, ACTIONS))
    k = rng.normal(size=(ACTIONS, STATES))
    closed = a + b @ k
    shrink = 0.95 / np.abs(np.linalg.eigvals(closed)).max()
    a, b, closed = a * shrink, b * shrink, closed * shrink
    p = value(a, b, k)
    path = [rng.normal(size=(STARTS, STATES))]
    for _ in range(STEPS):
        path.append(path[-1] @ closed.T)
    states = np.concatenate(path)  # [(T + 1) starts, S]
    weights = np.repeat(DISCOUNT ** np.arange(STEPS + 1), STARTS) / STARTS
    actions = states @ k.T
    true = -2 * actions - 2 * DISCOUNT * (states @ a.T + actions @ b.T) @ p @ b  # ∇ₐQ at a = K s
    wrong = true + states @ rng.normal(size=(STATES, ACTIONS)) + actions @ rng.normal(size=(ACTIONS, ACTIONS))
    gradient, other = (np.einsum("n,na,ns->as", weights, slope, states) for slope in (true, wrong))
    mean_error = (weights * np.linalg.norm(true - wrong, axis=1)).sum()  # E / (1 - γ): the weights sum to that
    bound = np.linalg.norm(states, axis=1).max() * mean_error
    return float(np.linalg.norm(gradient - other) / bound), _against_differences(a, b, k, path[0], gradient)


def _against_differences(
    a: np.ndarray, b: np.ndarray, k: np.ndarray, starts: np.ndarray, gradient: np.ndarray
) -> float:
    """Return the relative difference between ∇J and central differences of J along one direction."""
    direction, eps = np.ones_like(k) / np.sqrt(k.size), 1e-5
    ends = [-np.einsum("ns,st,nt->n", starts, value(a, b, k + s * eps * direction), starts).mean() for s in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * eps)
    return float(abs(numeric - (gradient * direction).sum()) / np.linalg.norm(gradient))


def main() -> None:
    """Try every system and write the result."""
    rng = np.random.default_rng(0)
    ratios, differences = np.array([ratio(rng) for _ in range(SYSTEMS)]).T
    report = {
        "command": "python benchmarks/paper/mage_bound.py",
        "systems": SYSTEMS,
        "error_over_bound": {"largest": float(ratios.max()), "median": float(np.median(ratios))},
        "gradient_against_differences": {"largest": float(differences.max()), "median": float(np.median(differences))},
    }
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
