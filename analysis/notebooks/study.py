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
# reads MLflow only. `jupytext --to ipynb analysis/notebooks/study.py` makes an `.ipynb` of it.

# %%
import os

from IPython.display import Image, Markdown, display

from analysis.cells import cross_validated
from analysis.figures import png
from analysis.render import to_markdown
from analysis.runs import load_runs
from analysis.tables import TABLES, chart_of

EXPERIMENT = os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow")
runs = load_runs(EXPERIMENT)
runs.frame.groupby(["stage", "status"]).size()

# %% [markdown]
# What makes these runs hard to compare:

# %%
list(runs.warnings)


# %%
def show(name):
    """Show a table with its chart, if there are runs for it."""
    table = TABLES[name](runs.frame)
    if table is None:
        print(f"no runs for the table {name}")
        return
    display(Markdown(to_markdown(table)))
    if (chart := chart_of(table)) is not None:
        display(Image(png(chart)))


show("heads")

# %%
show("backbones")

# %%
show("strategies")

# %% [markdown]
# What the accuracy costs. On the front is who no other beats in accuracy, work and time at once.

# %%
show("cost")

# %% [markdown]
# The frame itself is tidy: one row per run, parameters typed, metrics under their own names.

# %%
cells = runs.frame[(runs.frame["stage"] == "fit_head") & ~cross_validated(runs.frame)]
cells.pivot_table(index="backbone", columns="head", values="test/accuracy", aggfunc=["mean", "std", "count"]).round(4)
