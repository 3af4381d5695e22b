"""Speed relative to plain reference implementations, as ratios measured side by side: ``make bench``."""
