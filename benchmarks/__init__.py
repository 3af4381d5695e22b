"""Speed against plain peers, as ratios measured side by side: ``make bench``."""
