"""Long tail: imbalance profiles, the methods that are compared, and their scores by class size."""
