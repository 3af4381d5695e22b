"""Robustness: images corrupted by family and severity; start at ``corruptions.corrupt``."""
