"""Classifiers as files of other runtimes: one graph from pixels to answers, and how well it agrees with ours."""
