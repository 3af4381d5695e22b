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
# # The ablation: every backbone with every head
#
# Does the best head depend on the backbone? Needs runs of `fit_head`, such as those of `make demo`.

# %%
import os

import pandas as pd

from analysis.cells import best_settings, frozen_or_tuned
from analysis.notebook import show
from analysis.runs import load_runs
from analysis.separation import paired_difference, runs_by_seed

runs = load_runs(os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow"))
show("ablation", runs.frame)

# %% [markdown]
# ## How much of a score is the head, how much the backbone, how much the seed?
#
# Spread of test accuracy between heads (mean over backbones), between backbones (mean over heads), and over seeds: of
# the same settings as in the table, on all training images.

# %%
cells = frozen_or_tuned(runs.frame)
pairs = best_settings(cells[cells["strategy"] == "frozen"], ["backbone", "head"], ["test/accuracy"])
mean = pairs.pivot_table(index="backbone", columns="head", values="test/accuracy")
pd.Series(
    {
        "range over heads": mean.max(axis=1).sub(mean.min(axis=1)).mean(),
        "range over backbones": mean.max(axis=0).sub(mean.min(axis=0)).mean(),
        "standard deviation over seeds": pairs.get("test/accuracy std", pd.Series(dtype=float)).mean(),
    }
).round(4)

# %% [markdown]
# ## One pair, item by item
#
# The difference of the two best heads on the best backbone, paired by seed and by test item.

# %%
rivals = pairs[pairs["backbone"] == pairs["backbone"].iloc[0]].head(2) if len(pairs) else pairs
if len(rivals) == 2:
    first, second = (rivals.iloc[i] for i in range(2))
    difference = paired_difference(runs_by_seed(first), runs_by_seed(second))
    if difference is not None:
        low, high = difference.interval
        print(
            f"{first['head']} - {second['head']} on {first['backbone']}: {difference.difference:+.4f}, "
            f"95 % interval {low:+.4f} to {high:+.4f}"
        )
else:
    print("No pair: this needs finished fit_head runs of two heads on the same backbone.")
