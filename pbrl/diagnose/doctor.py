"""Whether an environment can be trained on: what is tried, what is found, what to do (`pbrl doctor`).

No agent is asked: what a run on it costs is `pbrl.train.cost`'s to measure.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pbrl.diagnose import gradcheck
from pbrl.diagnose.random_play import STEPS, Played, play
from pbrl.envs import registry
from pbrl.envs.gym import GymEnv
from pbrl.envs.ids import BRAX, TWINS
from pbrl.errors import EnvError, NoTwin, with_origin
from pbrl.types import width

ALIKE = 50  # steps that are played twice
TOLERANCE = 1e-5  # of a known reward, relative to the largest one, as the tests of pbrl's own
HORIZONS, STATES = (1, 4), 8  # of the small check of gradients


class Check(NamedTuple):
    """One line: what was tried, what was found, and what to do about it."""

    name: str
    level: Literal["ok", "note", "FAIL"]
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:4} {self.name}: {self.found}" + f"; {self.remedy}" * bool(self.remedy)


def examine(
    make: Callable[[], GymEnv], env_id: str, *, standard: bool, oracle_asked: bool = False, steps: int = STEPS
) -> Iterator[Check]:
    """Give one check after the other, from making the environment on; it ends early where nothing more can be tried.

    `make` makes it anew; `standard` says that it is its id's own, so that an oracle may be its twin, whose gradients
    are compiled if they are `oracle_asked` for, or small.
    """
    try:
        env = make()
    except EnvError as error:
        yield Check("makes", "FAIL", with_origin(str(error), error))
        return
    try:
        try:
            yield spaces(env)
            played = play(env, steps)
        except EnvError as error:
            yield Check("steps", "FAIL", with_origin(str(error), error))
            return
        yield numbers(env, played)
        yield time_limit(env, played)
        if not played.broken:  # which would break these, too
            yield seeding(make)
            yield snapshot(env)
        yield known_reward(env, played)
        yield known_termination(env, played)
        yield oracle(env_id, standard, asked=oracle_asked)
        rate = f"{1 / played.step_s:,.0f} steps a second, {1e3 * played.reset_s:.1f} ms a reset"
        yield Check("speed", "ok", f"{steps:,} random steps: {rate}")
    finally:
        env.close()


def spaces(env: GymEnv) -> Check:
    """Hold what a reset returns against what the spaces promise. Raises `EnvError` for one that breaks."""
    env.reset(seed=0)
    raw, _ = env.gymnasium.reset(seed=0)
    space, actions = env.gymnasium.observation_space, env.gymnasium.action_space
    bounds = f"within [{actions.low.min():g}, {actions.high.max():g}]"  # pyright: ignore[reportAttributeAccessIssue]
    found = f"observations of size {env.spec.obs_size} ({space.dtype}), actions of size {env.spec.action_size} {bounds}"
    if np.asarray(raw).dtype != space.dtype:
        remedy = f"a reset returns {np.asarray(raw).dtype}: say so in the space, or convert (agents see {width()})"
        return Check("spaces", "note", found, remedy)
    if not space.contains(raw):
        return Check("spaces", "note", found, f"the first observation lies outside of {space}: give wider bounds")
    return Check("spaces", "ok", found)


def numbers(env: GymEnv, played: Played) -> Check:
    """Look at what random actions met: broken steps, scales, rewards that say nothing."""
    rows, least, most = played.rows, played.rows.reward.min(), played.rows.reward.max()
    seen = f"observations from {rows.next_obs.min():.3g} to {rows.next_obs.max():.3g}"
    tried = f"{len(rows.reward):,} random steps, {len(played.broken)} broken"
    found = f"{tried}; rewards from {least:.3g} to {most:.3g}, {seen}"
    if played.broken:
        first = played.broken[0]
        return Check("numbers", "FAIL", found, f"the first: {with_origin(str(first), first)}")
    if least == most:
        alike = "terminations alone can teach" if any(end[1] for end in played.ends) else "nothing here can teach"
        return Check("numbers", "note", found, f"all rewards are alike: {alike}")
    still = np.flatnonzero(np.ptp(rows.next_obs, 0) == 0)
    if still.size:
        return Check(
            "numbers", "note", found, f"observation {', '.join(map(str, still[:5]))} never changes: leave it out"
        )
    if max(abs(least), abs(most)) > 1e3:
        return Check("numbers", "note", found, "rewards in thousands make large values: divide them")
    return Check("numbers", "ok", found)


def time_limit(env: GymEnv, played: Played) -> Check:
    """Look at how long episodes are, and for terminations that look like a time limit."""
    limit, ends = env.spec.episode_length, played.ends
    lengths = {length for length, _ in ends}
    long = " to ".join(map(str, sorted({min(lengths), max(lengths)}))) if ends else ""
    ended = f"{len(ends)} episode{'s' * (len(ends) != 1)} ended" + f" after {long} steps" * bool(ends)
    terminated = f"{sum(terminated for _, terminated in ends)} by termination"
    found = f"{ended}, {terminated}; the longest there can be has {limit} steps"
    if len(ends) > 2 and len(lengths) == 1 and all(terminated for _, terminated in ends) and max(lengths) > 2:
        same = f"all terminate after {max(lengths)} steps, as a time limit would: report that as truncated"
        return Check("time limit", "note", found, same)
    if not env.limited and not ends:
        remedy = f"it has none of its own, so evaluation cuts it there: --wrap time-limit={limit} to choose"
        return Check("time limit", "note", found, remedy)
    return Check("time limit", "ok", found)


def seeding(make: Callable[[], GymEnv]) -> Check:
    """Play the same actions twice under one seed, in two environments, and begin once with another seed."""
    one, two = make(), make()
    try:
        first, again, other = _under(one, 1), _under(two, 1), one.reset(seed=2)
        rewound = _under(one, 1)
    except EnvError as error:
        return Check("seeding", "FAIL", with_origin(str(error), error))
    finally:
        one.close()
        two.close()
    tried = f"{ALIKE} steps under one seed, in two environments and again in the first"
    if not (np.array_equal(first, again) and np.array_equal(first, rewound)):
        where = "draw random numbers from self.np_random alone, and reset all state"
        return Check("seeding", "note", f"{tried}: they differ, so that runs cannot be repeated", where)
    if np.array_equal(first[: other.size], other):
        return Check("seeding", "note", f"{tried}: equal, and two seeds begin alike", "vary first states by the seed")
    return Check("seeding", "ok", f"{tried}: equal")


def _under(env: GymEnv, seed: int) -> np.ndarray:
    """Return all numbers that the same actions meet under a seed, f64[*]; the first are the first observation."""
    rng, seen = np.random.default_rng(seed), [env.reset(seed=seed)]
    for _ in range(ALIKE):
        step = env.step(rng.uniform(-1.0, 1.0, env.spec.action_size))
        seen += [step.next_obs, [step.reward, step.terminated]]
        if step.terminated or step.truncated:
            seen.append(env.reset(seed=seed + len(seen)))
    return np.concatenate(seen)


def snapshot(env: GymEnv) -> Check:
    """Save, go on, go back, and go on again."""
    how = "give it snapshot() and restore() (docs/custom_environment.md), or accept that"
    if not env.exact:
        return Check("snapshot", "note", "its state cannot be saved: a resumed run begins a new episode", how)
    try:
        env.reset(seed=3)
        env.step(np.zeros(env.spec.action_size))
        saved, action = env.snapshot(), np.full(env.spec.action_size, 0.3)
        first = env.step(action)
        env.restore(saved)
        again = env.step(action)
    except EnvError as error:
        return Check("snapshot", "FAIL", with_origin(str(error), error))
    if not (np.array_equal(first.next_obs, again.next_obs) and first.reward == again.reward):
        return Check("snapshot", "note", "saved and put back, it goes on with other numbers", "save all of its state")
    return Check("snapshot", "ok", "saved and put back, it goes on to the bit: a resumed run is exact")


def known_reward(env: GymEnv, played: Played) -> Check:
    """Hold a known reward against the live one, and look at its gradient."""
    function, rows = env.spec.reward_fn, played.rows
    if function is None:
        return Check("reward", "ok", "not known to agents, which learn it", "to give it: docs/custom_environment.md")
    try:
        given = rows.obs, rows.action, rows.next_obs
        said = np.asarray(function(*given))
        slopes = jax.grad(lambda *args: jnp.sum(function(*args)), (0, 1, 2))(*map(jnp.asarray, given))
    except Exception as error:  # of a user's function
        wrong = EnvError(f"the known reward raised {type(error).__name__}: {error}")
        wrong.__cause__ = error
        return Check("reward", "FAIL", with_origin(str(wrong), wrong))
    if said.shape != rows.reward.shape:
        return Check(
            "reward",
            "FAIL",
            f"the known reward has shape {said.shape} for rows of {rows.reward.shape}",
            "keep leading axes",
        )
    worst = np.abs(said - rows.reward).max() / max(np.abs(rows.reward).max(), 1.0)
    found = f"the known reward on {said.size:,} live transitions: largest relative error {worst:.1e}"
    if not worst <= TOLERANCE:
        return Check("reward", "FAIL", found, "make it what `step` pays, with the action in [-1, 1]; look at its signs")
    if not all(np.isfinite(slope).all() for slope in slopes):
        return Check("reward", "FAIL", f"{found}, but its gradient is not finite", "no norm or arctan2 at the origin")
    return Check("reward", "ok", f"{found}, gradient finite")


def known_termination(env: GymEnv, played: Played) -> Check:
    """Hold a known termination against the live one."""
    function = env.spec.termination_fn
    if function is None:
        return Check("termination", "ok", "not known to agents, which learn it or take it from data")
    said, live = np.asarray(function(jnp.asarray(played.rows.next_obs))), played.rows.discount == 0
    found = f"the known termination on {live.size:,} live transitions, {live.sum()} of them ends: "
    if said.shape != live.shape or (wrong := int((said != live).sum())):
        found += f"shape {said.shape}" if said.shape != live.shape else f"{wrong} differ"
        return Check("termination", "FAIL", found, "make it what `step` returns as terminated, of next_obs alone")
    return Check("termination", "ok", f"{found}all alike")


def oracle(env_id: str, standard: bool, *, asked: bool = False) -> Check:
    """Compare a few gradients through the environment's own dynamics with differences of them, in float64.

    Those of MuJoCo and Brax take minutes to compile: only where they are `asked` for.
    """
    if not standard:
        return Check("oracle", "ok", "none: a twin is of its id's own settings; agents learn a model")
    try:
        small = registry.plain(env_id) in (*TWINS, *registry.OWN)
        if not (small or asked) and (env_id.startswith(BRAX) or registry.find(env_id).start is not None):
            return Check("oracle", "ok", f"it has dynamics of its own; not tried: --oracle, or pbrl gradcheck {env_id}")
        with jax.enable_x64(True):
            found = gradcheck.measure(env_id, HORIZONS, STATES, 0)
    except NoTwin:
        return Check("oracle", "ok", "it has no differentiable dynamics of its own; agents learn a model")
    except EnvError as error:
        return Check("oracle", "note", str(error))
    last = found.rows[-1]
    said = (
        f"gradients through its own dynamics, {STATES} states, H = {last.horizon}: relative error {last.error[0]:.0e}"
    )
    if last.finite < 1 or last.error[0] > gradcheck.TRUSTED:
        return Check("oracle", "note", said, f"look closer before --oracle: pbrl gradcheck {env_id}")
    return Check("oracle", "ok", f"{said}: --oracle can take the model's place")
