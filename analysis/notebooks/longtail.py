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
# # The long-tail experiment
#
# Which remedy helps classes with few training images, and what does it cost the others? Needs runs of `longtail`, such
# as those of `make demo`.

# %%
import os

from IPython.display import display

from analysis.notebook import show
from analysis.runs import load_runs
from analysis.tables.longtail import longtail_cells

runs = load_runs(os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow"))
table = show("longtail", runs.frame)

# %% [markdown]
# ## What few gains and many loses
#
# Each method against `none` on the same tail, backbone and head: a gain for the tail that costs the classes with many
# images more is no gain.

# %%
PLACE = ["profile", "backbone", "head", "strategy"]
GROUPS = {"test/accuracy_many": "many", "test/accuracy_medium": "medium", "test/accuracy_few": "few"}
if table is not None:
    recalls = table.frame.set_index([*PLACE, "method"]).reindex(columns=list(GROUPS)).rename(columns=GROUPS)
    none = recalls[recalls.index.get_level_values("method") == "none"].droplevel("method")
    change = (recalls - none.reindex(recalls.index.droplevel("method")).to_numpy()).drop("none", level="method")
    display(change.sort_values("few", ascending=False).round(4))

# %% [markdown]
# ## What validation chose
#
# Hyperparameters were chosen by balanced accuracy on validation data; each value that was tried is a step of the
# metrics `selection/*`.

# %%
chosen = longtail_cells(runs.frame)
names = [name for name in chosen if name.startswith("selection/") and chosen[name].notna().any()]
chosen[["method", "seed", *names]].dropna(subset=names, how="all").reset_index(drop=True)
