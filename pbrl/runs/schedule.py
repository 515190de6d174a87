"""When a training run collects, fits its model, updates, evaluates and saves. Imports nothing heavy."""

from dataclasses import dataclass, fields

from pbrl.config import Frozen, shown

MOST = 2**31 - 1  # steps are counted on the device, in 32 bits
MOST_ROWS = 2**29  # so that a few rounds of a ring can be, too
MOST_EPISODES = 10_000  # of an evaluation and seed: Gymnasium's are all live at once


@dataclass(frozen=True)
class Schedule(Frozen):
    """Cadences of one run, counted in environment steps of one seed but for one. Defaults: MAGE, App. D and code."""

    total_steps: int = 100_000
    """Environment steps per seed, warm-up included."""
    warmup_steps: int = 1_000
    """First steps with uniformly random actions; the agent's updates begin at this step."""
    batch_size: int = 1_024
    """Replayed transitions per update."""
    updates_per_step: int = 10
    """Agent updates after every environment step."""
    model_every: int = 25
    """Steps between two fits of the model; 0 for an agent without one."""
    model_batch_size: int = 256
    """Transitions per gradient step of the model and ensemble member."""
    model_min_batches: int = 120
    """A fit runs whole epochs until it has made at least this many gradient steps; exactly this many on sequences."""
    model_max_batches: int = 0
    """A fit ends after at most this many, within an epoch if need be; 0 sets no bound. One that held-out rows stop
    finishes the epoch in which it passes it; windows have no epochs."""
    imagine_every: int = 0
    """Steps between two additions to the buffer of imagined transitions; 0 has none. They begin with the updates."""
    imagine_batch: int = 100_000
    """Replayed states from which the model imagines each time."""
    imagine_length: tuple[int, ...] = (20_000, 100_000, 1, 1)
    """Steps imagined from each: (from step, to step, from length, to length), linear in between, rounded down."""
    imagine_chained: bool = True
    """Go on from the imagined state; otherwise, as often, one step from fresh replayed ones (MAAC's code)."""
    imagine_buffer: int = 2_000_000
    """Capacity of that buffer."""
    real_fraction: float = 0.05
    """Share of a batch that is real, where there are imagined transitions; rounded down."""
    buffer_size: int = 0
    """Capacity of the replay buffer; 0 keeps every step of the run and all `data_rows`, and a run never holds more."""
    data_rows: int = 0
    """Newest rows of a dataset (`--data`) that are in the replay buffer before the first step; 0 takes all of them."""
    offline: bool = False
    """Learn from the rows of a dataset alone: a step is one of fits and updates, and none is taken in the environment
    but by evaluations."""
    eval_every: int = 1_000
    """Steps between two evaluations, one more at step 0 and at the end; 0 makes none at all, and no environments."""
    eval_episodes: int = 10
    """Whole episodes per evaluation and seed."""
    eval_on_training_env: bool = False
    """Evaluate on the training environments, one episode after the other, where there can be but one of each. What
    they are in the middle of is cut, as a time limit would, and a new episode begins afterwards."""
    step_timeout: int = 0
    """Seconds after which one call of an environment of Gymnasium's counts as hung: the run is saved, and ends with
    code 75. 0 waits for ever; several hosts then wait 300 s."""
    diagnose_every: int = 0
    """Steps between two diagnoses of the model (`pbrl diagnose`), the first after the warm-up; 0 makes none."""
    log_every: int = 1_000
    """Steps between two rows of training metrics."""
    checkpoint_every: int = 10_000
    """Steps between two checkpoints; one more at the end and on Ctrl-C, SIGTERM, SIGUSR1 or a closed terminal."""
    checkpoint_minutes: int = 10
    """Minutes after which one is made anyhow, so that a killed run loses no more; 0 leaves it to the steps."""
    max_skipped_updates: int = 20
    """Give a seed up after this many updates in a row that were not sound (each is skipped whole)."""

    @property
    def capacity(self) -> int:
        """Rows of the replay buffer."""
        most = self.rows_at(self.total_steps)
        return min(self.buffer_size or most, most)

    @property
    def imagined_capacity(self) -> int:
        """Rows of the buffer of imagined transitions; 0 without one."""
        return self.imagine_buffer if self.imagine_every else 0

    def rows_at(self, step: int) -> int:
        """Return how many transitions there have been after an environment step, those of a dataset included."""
        return self.data_rows + (0 if self.offline else step)

    def begins_at(self, step: int) -> bool:
        """Say whether it is the first step of a run that begins with data: what learns from data is due at once."""
        return step == 1 and self.data_rows > 0

    def due_after_warmup(self, step: int, every: int) -> bool:
        """Say whether what comes at the end of the warm-up, and at every multiple of `every` from then on, is due."""
        if not every or step < self.warmup_steps:
            return False
        ended = step == self.warmup_steps or (self.warmup_steps == 0 and self.begins_at(step))
        return ended or step % every == 0

    def updates_at(self, step: int) -> int:
        """Return how many updates the agent makes at an environment step (1, 2, ...)."""
        return self.updates_per_step if step >= self.warmup_steps else 0

    def imagined_steps(self, step: int) -> int:
        """Return how many steps to imagine from each state at an environment step (1, 2, ...); 0 where none is due."""
        if not self.due_after_warmup(step, self.imagine_every):
            return 0
        begin, end, low, high = self.imagine_length
        return int(low + (high - low) * min(max((step - begin) / max(end - begin, 1), 0.0), 1.0))

    def validate(self) -> "Schedule":
        """Return self, or raise `ValueError` naming the field, what was expected and what came."""
        may_be_zero = {"warmup_steps", "model_every", "buffer_size", "updates_per_step", "eval_every", "step_timeout"}
        may_be_zero |= {"checkpoint_minutes", "imagine_every", "diagnose_every", "model_max_batches", "data_rows"}
        for field in (f for f in fields(self) if f.type is int):
            value, low = getattr(self, field.name), 0 if field.name in may_be_zero else 1
            most = {"buffer_size": MOST_ROWS, "imagine_buffer": MOST_ROWS, "data_rows": MOST_ROWS}
            most |= {"eval_episodes": MOST_EPISODES}
            most = most.get(field.name, MOST)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= most:
                raise ValueError(f"schedule.{field.name}: expected an integer from {low} to {most}, got {shown(value)}")
        if self.capacity > MOST_ROWS:
            raise ValueError(
                f"schedule.buffer_size: a buffer of every step has {self.capacity} rows, expected at most {MOST_ROWS}; "
                "give it a size with --schedule.buffer-size"
            )
        if self.offline and (self.warmup_steps or not self.data_rows):
            raise ValueError(
                "schedule.offline: expected rows of a dataset (--data) and schedule.warmup_steps 0, since no step is "
                f"taken, got {self.data_rows} and {self.warmup_steps}"
            )
        if 0 < self.model_max_batches < self.model_min_batches:
            raise ValueError(
                "schedule.model_max_batches: expected 0, or at least model_min_batches "
                f"({self.model_min_batches}), got {self.model_max_batches}"
            )
        if not 0 <= self.real_fraction <= 1:
            raise ValueError(f"schedule.real_fraction: expected a share in [0, 1], got {self.real_fraction!r}")
        lengths = self.imagine_length
        if (
            len(lengths) != 4
            or lengths[0] > lengths[1]
            or min(lengths) < 0
            or not 1 <= min(lengths[2:]) <= max(lengths) <= MOST
        ):
            raise ValueError(
                "schedule.imagine_length: expected (from step, to step, from length, to length), such as "
                f"(20000, 100000, 1, 15), got {lengths!r}"
            )
        if self.warmup_steps > self.total_steps:
            raise ValueError(
                f"schedule.warmup_steps: expected at most total_steps ({self.total_steps}), got {self.warmup_steps}; "
                "lower it, or train for longer with --steps"
            )
        return self
