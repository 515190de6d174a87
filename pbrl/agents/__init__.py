"""One file per paper; `from pbrl.agents import mage` or `from pbrl import mage`."""
