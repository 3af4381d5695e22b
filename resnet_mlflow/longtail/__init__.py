"""Long tail: imbalance profiles, the remedies that are compared, and their scores by class size."""
