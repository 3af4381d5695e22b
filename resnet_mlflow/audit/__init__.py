"""Dataset audits: near-duplicates, suspicious labels, outliers, faulty images, and cues that reveal the label."""
