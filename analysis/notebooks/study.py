# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A study, read from the tracking store
#
# Which backbone, which head, and is a frozen backbone enough? Run a study first (`make demo`), then this notebook: it
# reads MLflow only.

# %%
import os

from analysis.cells import VARIANT, frozen_or_tuned, score_rows
from analysis.notebook import show
from analysis.runs import load_runs

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow")
runs = load_runs(EXPERIMENT)
runs.frame.groupby(["stage", "status"]).size()

# %% [markdown]
# What makes these runs hard to compare:

# %%
print("\n".join(f"- {warning}" for warning in runs.warnings))

# %%
show("heads", runs.frame)

# %%
show("backbones", runs.frame)

# %%
show("strategies", runs.frame)

# %% [markdown]
# What the accuracy costs. On the front are classifiers that no other beats in accuracy, work and time at once.

# %%
show("cost", runs.frame)

# %% [markdown]
# The frame itself is tidy: one row per run, parameters typed, metrics under their own names. `frozen_or_tuned` keeps
# the runs that may be compared (all training images, one test split, the newest run of each seed), and `score_rows`
# makes one row of the seeds of each setting: tuned classifiers and those with default parameters are settings of their
# own.

# %%
LABELS = ["backbone", "head", "strategy"]
rows = score_rows(frozen_or_tuned(runs.frame), LABELS, ["val/accuracy", "test/accuracy"])
shown = [*LABELS, VARIANT, "val/accuracy", "test/accuracy", "test/accuracy std", "test/accuracy n"]
rows.reindex(columns=shown).sort_values("val/accuracy", ascending=False).reset_index(drop=True).round(4)
