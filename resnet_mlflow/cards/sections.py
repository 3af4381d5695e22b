"""The sections of a card: one row each, in this order."""

from resnet_mlflow.cards.content import Section
from resnet_mlflow.cards.data_sections import write_data, write_model, write_splits, write_use
from resnet_mlflow.cards.making_sections import write_cost, write_repeat
from resnet_mlflow.cards.score_sections import write_answering, write_calibration, write_confusions, write_scores
from resnet_mlflow.cards.trial_sections import write_corruptions, write_ood, write_power
from resnet_mlflow.registry import Registry

_PROMOTE = "promote it"
SECTIONS = Registry(
    "section",
    Section("model", "What it is", write_model, _PROMOTE),
    Section("use", "Intended use", write_use, _PROMOTE),
    Section("data", "Images", write_data, _PROMOTE),
    Section("splits", "Splits and groups", write_splits, _PROMOTE),
    Section("scores", "Scores", write_scores, "fit it on a dataset with a test split, or cross-validate it."),
    Section("calibration", "Are its probabilities calibrated?", write_calibration, "fit it again and promote it."),
    Section("answering", "When it declines to answer", write_answering, "promote with calibrate=auto."),
    Section(
        "unlike", "Images unlike the training images", write_ood, "promote with ood=folder:PATH or ood_corruptions=all."
    ),
    Section(
        "corruptions",
        "Corrupted images",
        write_corruptions,
        "run robustness with model=models:/NAME@champion, and promote again.",
    ),
    Section("power", "Would monitor notice a change?", write_power, "promote with power_curve=true."),
    Section("confusions", "Known confusions", write_confusions, "fit it again and promote it."),
    Section("cost", "Time and energy", write_cost, "the runs behind it are not in this store."),
    Section("repeat", "How to repeat it", write_repeat, _PROMOTE),
)
