"""Which hyper-parameters can work: an agent's own checks, and whether they go with a schedule."""

from typing import Any

from pbrl.runs.schedule import Schedule


def check(module: Any, config: Any, schedule: Schedule, oracle: Any = None) -> None:
    """Raise `ValueError` for hyper-parameters that cannot work, or not with this schedule.

    The agent's own checks run by initialising it abstractly, for an environment of the smallest size. An `oracle` may
    be anything that is true: it is not called.
    """
    import jax

    from pbrl.data import validation
    from pbrl.types import EnvSpec

    schedule.validate()
    jax.eval_shape(lambda: module.init(jax.random.key(0), EnvSpec(1, 1, 1), config, oracle=oracle))  # needs no device
    abilities = module.abilities(config)
    if schedule.imagine_every and not abilities.imagines:
        raise ValueError(
            f"schedule.imagine_every: expected 0 for an agent without a model data set, got {schedule.imagine_every}"
        )
    self_stopping = abilities.fits == "until stopped"
    if self_stopping and not oracle and 0 < schedule.buffer_size < validation.WHOLE_BLOCK:
        raise ValueError(
            f"schedule.buffer_size: expected at least {validation.WHOLE_BLOCK} rows, so that some can be held out, "
            f"got {schedule.buffer_size}"
        )
    if not oracle and abilities.window > schedule.capacity:
        raise ValueError(
            f"schedule.buffer_size, schedule.total_steps: expected at least {abilities.window}, as many rows as the "
            f"model's windows have, got {schedule.capacity}"
        )
    if abilities.has_model and not schedule.model_every and not oracle:
        raise ValueError("schedule.model_every: got 0, but this agent learns from a model; expected at least 1")
    if schedule.model_every and not abilities.has_model:
        raise ValueError(f"schedule.model_every: expected 0 for an agent without a model, got {schedule.model_every}")
