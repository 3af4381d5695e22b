"""Tuning of hyperparameters: Optuna proposes trials, each trial is a run, and processes share one tuning."""
