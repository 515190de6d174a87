"""How the networks of a code base begin and end: each config of an agent with a soft actor declares one of these."""

from typing import NamedTuple


class Style(NamedTuple):
    """How the networks of a code base begin and end, and what moves its temperature."""

    scheme: str
    """How weights are drawn: see `networks.MLP`."""
    std: str
    """How a network's output becomes a deviation: see `networks.GaussianActor`."""
    log_std_bounds: tuple[float, float]
    log_temperature: bool
    """Let log α weigh the temperature's loss, instead of α."""


SVG_STYLE = Style("orthogonal", "bent", (-5.0, 2.0), log_temperature=False)
MAAC_STYLE = Style("glorot", "clipped", (-20.0, 2.0), log_temperature=True)
DHMBPO_STYLE = Style("he_zero_out", "softplus", (0.0, 0.0), log_temperature=False)
