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
from IPython.display import Image, Markdown, display

from analysis.cells import cross_validated
from analysis.figures import png
from analysis.render import to_markdown
from analysis.runs import load_runs
from analysis.separation import paired_difference
from analysis.tables import TABLES, chart_of

runs = load_runs(os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow"))
grid = TABLES["ablation"](runs.frame)
display(Markdown(to_markdown(grid)))

# %%
if (chart := chart_of(grid)) is not None:
    display(Image(png(chart)))

# %% [markdown]
# ## How much of a score is the head, how much the backbone, how much the seed?
#
# Spread of test accuracy between heads (mean over backbones), between backbones (mean over heads), and over seeds.

# %%
whole = runs.frame[~cross_validated(runs.frame)]
cells = whole[(whole["stage"] == "fit_head") & (whole["status"] == "FINISHED")]
mean = cells.pivot_table(index="backbone", columns="head", values="test/accuracy")
over_seeds = cells.groupby(["backbone", "head"])["test/accuracy"].std().mean()
pd.Series(
    {
        "range over heads": mean.max(axis=1).sub(mean.min(axis=1)).mean(),
        "range over backbones": mean.max(axis=0).sub(mean.min(axis=0)).mean(),
        "standard deviation over seeds": over_seeds,
    }
).round(4)

# %% [markdown]
# ## One pair, item by item
#
# The difference of the first two heads on the first backbone, paired by seed and by test item.

# %%
backbone = cells["backbone"].iloc[0]
heads = sorted(cells.loc[cells["backbone"] == backbone, "head"].unique())[:2]
pair = [
    dict(zip(own["seed"].astype(int), own["run_id"], strict=True))
    for head in heads
    for own in [cells[(cells["backbone"] == backbone) & (cells["head"] == head)].drop_duplicates("seed")]
]
difference = paired_difference(*pair)
low, high = difference.interval
print(f"{heads[0]} - {heads[1]} on {backbone}: {difference.difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}")
