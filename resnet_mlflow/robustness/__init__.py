"""Robustness: images corrupted by family and severity; ``corruptions.corrupt`` is the way in."""
