"""Comparison tables, statistics and reports, read from the tracking store."""
