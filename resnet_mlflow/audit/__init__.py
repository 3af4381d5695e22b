"""Audits of a dataset: near twins, suspicious labels, outliers, faulty pictures, and cues that give labels away."""
