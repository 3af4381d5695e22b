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

from IPython.display import Image, Markdown, display

from analysis.cells import cross_validated
from analysis.figures import png
from analysis.render import to_markdown
from analysis.runs import load_runs
from analysis.tables import TABLES, chart_of

runs = load_runs(os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-mlflow"))
table = TABLES["longtail"](runs.frame)
display(Markdown(to_markdown(table)))

# %%
if (chart := chart_of(table)) is not None:
    display(Image(png(chart)))

# %% [markdown]
# ## What few gains and many loses
#
# Each method against `none`: a gain for the tail that costs the head more is no gain.

# %%
recalls = table.frame.set_index("method")[["test/accuracy_many", "test/accuracy_medium", "test/accuracy_few"]]
change = (recalls - recalls.loc["none"]).drop("none").round(4)
change.columns = ["many", "medium", "few"]
change.sort_values("few", ascending=False)

# %% [markdown]
# ## What validation chose
#
# Hyperparameters were chosen by balanced accuracy on validation data; each value that was tried is a step of the
# metrics `selection/*`.

# %%
whole = runs.frame[~cross_validated(runs.frame)]
chosen = whole[(whole["stage"] == "longtail") & whole["method"].notna()]
names = [name for name in chosen if name.startswith("selection/") and chosen[name].notna().any()]
chosen[["method", "seed", *names]].dropna(subset=names, how="all").reset_index(drop=True)
