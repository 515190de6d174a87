"""The two drivers by name."""

from types import ModuleType

from pbrl.runs.run import Run


def driver_module(run: Run) -> ModuleType:
    """Return the module of a run's driver, with `check`, `train`, `template` and the class `Driver`.

    Only that one is imported: Brax and MJX take seconds.
    """
    if run.driver == "device":
        from pbrl.train import device

        return device
    from pbrl.train import host

    return host
