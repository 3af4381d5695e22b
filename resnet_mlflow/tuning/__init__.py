"""Studies of hyperparameters: Optuna asks and is told, each trial is a run, and processes share one study."""
