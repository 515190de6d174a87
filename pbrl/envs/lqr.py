"""Linear dynamics with quadratic reward, where value and policy gradient have a closed form.

`s' = A s + B a + w`, `w ~ N(0, W)`, `r = -½ (sᵀ Q s + aᵀ R a)`, `a = K s`, discount γ. With `M = A + B K`:

    P = Q + Kᵀ R K + γ Mᵀ P M                  V(s) = -½ sᵀ P s - ½ γ/(1-γ) tr(P W)
    Σ = E[s_0 s_0ᵀ] + γ/(1-γ) W + γ M Σ Mᵀ     ∇_K E[V(s_0)] = -((R + γ Bᵀ P B) K + γ Bᵀ P A) Σ

(Fazel et al. 2018, discounted.) Give float64 arrays for float64 answers.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from pbrl.types import Array, Dynamics, Key, Transition


@dataclass(frozen=True, eq=False)  # equal to itself alone, so that its oracle can be a static field
class Lqr:
    """A linear-quadratic problem of D state and A action coordinates."""

    A: Array  # [D, D]
    B: Array  # [D, A]
    Q: Array  # [D, D], symmetric
    R: Array  # [A, A], symmetric
    W: Array  # [D, D], covariance of the noise
    discount: float

    def step(self, state: Array, action: Array, key: Key) -> tuple[Array, Array, Array]:
        """Return next state `[*, D]`, reward `[*]` and a discount of one: nothing terminates."""
        noise = jax.random.multivariate_normal(key, jnp.zeros(len(self.A)), self.W, state.shape[:-1], method="svd")
        after = state @ self.A.T + action @ self.B.T + noise.astype(state.dtype)
        cost = jnp.einsum("...i,ij,...j", state, self.Q, state) + jnp.einsum("...i,ij,...j", action, self.R, action)
        return after, -0.5 * cost, jnp.ones(state.shape[:-1], state.dtype)

    @property
    def oracle(self) -> Dynamics:
        """The problem as what a rollout differentiates through; its observation is the state."""
        return Dynamics(start=_observed, step=self.step, observe=_itself)

    def value_matrix(self, gain: Array) -> Array:
        """Return P `[D, D]` of the policy `a = gain s`, for `gain [A, D]` with spectral radius of √γ M below one."""
        closed = self.A + self.B @ gain
        return _lyapunov(closed, self.Q + gain.T @ self.R @ gain, self.discount)

    def value(self, gain: Array, second_moment: Array) -> Array:
        """Return `E[V(s_0)]` for first states with `E[s_0 s_0ᵀ] = second_moment [D, D]`."""
        p, far = self.value_matrix(gain), self.discount / (1.0 - self.discount)
        return -0.5 * (jnp.trace(p @ second_moment) + far * jnp.trace(p @ self.W))

    def q_value(self, gain: Array, state: Array, action: Array) -> Array:
        """Return `Q(s, a)` of the policy `a = gain s`, for `state [*, D]` and `action [*, A]`."""
        p, g = self.value_matrix(gain), self.discount
        mean = state @ self.A.T + action @ self.B.T
        now = jnp.einsum("...i,ij,...j", state, self.Q, state) + jnp.einsum("...i,ij,...j", action, self.R, action)
        later = jnp.einsum("...i,ij,...j", mean, p, mean) + jnp.trace(p @ self.W) / (1.0 - g)
        return -0.5 * (now + g * later)

    def gradient(self, gain: Array, second_moment: Array) -> Array:
        """Return `∇ E[V(s_0)]` in the gain, `[A, D]`."""
        g, p = self.discount, self.value_matrix(gain)
        visits = _lyapunov((self.A + self.B @ gain).T, second_moment + g / (1.0 - g) * self.W, g)
        return -((self.R + g * self.B.T @ p @ self.B) @ gain + g * self.B.T @ p @ self.A) @ visits

    def optimal_gain(self, iterations: int = 10_000) -> Array:
        """Return the best gain `[A, D]`, by Riccati iteration."""
        g = self.discount

        def improve(p: Array) -> Array:
            return -jnp.linalg.solve(self.R + g * self.B.T @ p @ self.B, g * self.B.T @ p @ self.A)

        def iterate(_: int, p: Array) -> Array:
            gain = improve(p)
            closed = self.A + self.B @ gain
            return self.Q + gain.T @ self.R @ gain + g * closed.T @ p @ closed

        return improve(jax.lax.fori_loop(0, iterations, iterate, self.Q))


def double_integrator(discount: float = 0.9) -> Lqr:
    """Return `pbrl/ToyDoubleIntegrator-v0` without its bounds, at the discount of MAAC's Fig. 3.

    The same step and reward while position and speed are above -1 (26 steps from (1, 1) get no lower than -0.3) and the
    action is within ±1 (the best gain's stays within 0.65). The second moment of (1, 1) is `jnp.ones((2, 2))`.
    """
    a, b = jnp.array([[1.0, 0.05], [0.0, 1.0]]), jnp.array([[0.0], [0.05]])
    return Lqr(a, b, jnp.eye(2), jnp.eye(1), jnp.zeros((2, 2)), discount)


def _lyapunov(matrix: Array, constant: Array, discount: float) -> Array:
    """Solve `X = constant + discount · matrixᵀ X matrix`."""
    size = len(matrix)
    system = jnp.eye(size * size, dtype=matrix.dtype) - discount * jnp.kron(matrix.T, matrix.T)
    return jnp.linalg.solve(system, constant.reshape(-1)).reshape(size, size)


def _observed(batch: Transition) -> Array:
    return batch.obs


def _itself(state: Array) -> Array:
    return state
