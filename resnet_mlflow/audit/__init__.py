"""Audits of a dataset: near twins, suspicious labels, outliers, pictures at fault, and cues that give labels away."""
