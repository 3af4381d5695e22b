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
# # From a folder of images to a prediction
#
# Needs no runs: it makes a small folder of handwritten digits first. Point `FOLDER` at images of your own instead, with
# one subfolder per class.

# %%
import io
import tempfile
from pathlib import Path

import IPython.display
from PIL import Image
from sklearn.datasets import load_digits

import resnet_mlflow as rm

FOLDER = Path(tempfile.mkdtemp()) / "digits"
digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images[:600], digits.target[:600], strict=True)):
    place = FOLDER / str(label)
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 15.9).astype("uint8")).resize((32, 32)).save(place / f"{number:03}.png")

# %% [markdown]
# ## Images, features, a head
#
# A fifth of the images becomes the test split, a fifth of the rest validates. Features are computed once and kept. With
# `weights="imagenet"` in place of `"random"` a pretrained backbone is taken, where its file is at hand.

# %%
data = rm.load(f"folder:{FOLDER}")
features = rm.extract(data, backbone="resnet18", weights="random", image_size=32)
{name: split.features.shape for name, split in features.splits.items()}

# %%
classifier = rm.fit(features, head="linear")
scores = classifier.evaluate()
low, high = scores.intervals["accuracy"]
print(f"test accuracy {scores.metrics['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f})")

# %% [markdown]
# ## Which classes it confuses


# %%
def show(figure):
    """Show a figure that no window belongs to."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    IPython.display.display(IPython.display.Image(buffer.getvalue()))


show(classifier.confusion_matrix())

# %% [markdown]
# ## One image: its class, and what spoke for it

# %%
photo = FOLDER / "3" / "003.png"
print(classifier.predict(photo), classifier.predict_proba(photo).round(3))
show(classifier.grad_cam(photo))

# %% [markdown]
# `rm.fit(features, head="linear", track=True)` logs the same to MLflow, where `promote` and the reports find it.
