"""Every table, figure and claim of the three papers, one row each, and our aims: what `docs/report_card.md` judges."""

from card import aims, maac, mage, svg, svg_horizons
from card.claim import Claim

PAPERS: dict[str, tuple[Claim, ...]] = {
    "MAGE": mage.CLAIMS,
    "MAAC": maac.CLAIMS,
    "SAC-SVG(H)": svg.CLAIMS + svg_horizons.CLAIMS,
    "Our aims": aims.CLAIMS,
}
