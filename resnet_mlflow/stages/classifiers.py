"""The classifier of a finished run: its head, and the backbone of its features."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import Run

from resnet_mlflow.backbones.recipes import request_of
from resnet_mlflow.config import ENTRY_POINTS, Config, FeatureConfig
from resnet_mlflow.config.validation import validate
from resnet_mlflow.devices import PRECISIONS
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.identity import PREPROCESSING
from resnet_mlflow.heads.base import HeadBase
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.stages.preparation import Inputs, prepare
from resnet_mlflow.tracking import get_run, load_config, load_head_of_run

# Stages with a head in their runs, and the common type of their configurations.
CLASSIFIER_STAGES = ("fit_head", "finetune", "longtail")


@dataclass(frozen=True)
class RunClassifier:
    """A run's classifier, ready for features of its backbone.

    Attributes:
        run: The run, with its metrics and tags.
        config: The run's configuration, with backbone, dataset and image size.
        inputs: Dataset and weights, resolved on this machine. For a fine-tuned network, the weights are the run's own.
        head: The fitted head; its classes are the indices of ``inputs.dataset.class_names``.
    """

    run: Run
    config: FeatureConfig
    inputs: Inputs
    head: HeadBase

    @property
    def name(self) -> str:
        """Return the classifier's name in tables: the name of its run."""
        return str(self.run.info.run_name)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes 0, 1, ..."""
        return self.inputs.dataset.class_names


def load_classifier(run_id: str, here: Mapping[str, object] | None = None) -> RunClassifier:
    """Return the classifier of a finished run of fit_head, finetune or longtail.

    Args:
        run_id: ID of the run.
        here: Parameters for places and devices on this machine, which replace those that the run was started with.

    Raises:
        InputError: If the run does not exist, has no classifier, or its dataset has changed since.
    """
    run = get_run(run_id)
    stage = _entry_point(run)
    if stage not in CLASSIFIER_STAGES or run.info.status != "FINISHED" or "features_key" not in run.data.tags:
        raise InputError(
            f"a classifier must come from a FINISHED run of {', '.join(CLASSIFIER_STAGES)}, got run {run_id} "
            f"({stage or 'no stage of ours'}, {run.info.status}); list them in MLflow by tags.stage"
        )
    if "folds" in run.data.tags:
        raise InputError(
            f"a classifier must come from a single fit, got the cross-validation {run_id}, which contains no "
            f"classifier; promote it (run_id=...) to fit one on all images"
        )
    config = _with_own_backbone(config_of_run(run), run).model_copy(update={"cache_dir": "", **(here or {})})
    inputs = _prepared_as_then(prepare(config), run)
    if (then := run.data.tags.get("dataset_digest")) != inputs.dataset.digest:
        raise InputError(
            f"the dataset of run {run_id} must be unchanged, got digest {inputs.dataset.digest} for {config.dataset} "
            f"where the run had {then}; restore the images or fit the classifier again"
        )
    head = load_head_of_run(run)
    expected = (BACKBONES[config.backbone].n_features, len(inputs.dataset.class_names))
    if (head.n_features_in_, len(head.classes_)) != expected:
        raise InputError(
            f"the head of run {run_id} must take the {expected[0]} features of {config.backbone} and have "
            f"{expected[1]} classes, got one with {head.n_features_in_} and {len(head.classes_)}; fit it again"
        )
    return RunClassifier(run, config, inputs, head)


def _prepared_as_then(inputs: Inputs, run: Run) -> Inputs:
    """Return the inputs with the run's preprocessing; runs without this tag had the only one at that time."""
    text = run.data.tags.get("preprocessing", PREPROCESSING)
    return replace(inputs, identity=replace(inputs.identity, preprocessing=str(Preprocessing.read(text))))


def precision_of(classifier: RunClassifier) -> str:
    """Return the precision of a classifier's features, which may differ from ``auto`` here."""
    logged = classifier.run.data.tags.get("precision")
    return logged if logged in PRECISIONS else classifier.inputs.precision


def _entry_point(run: Run) -> str:
    """Return the entry point of a run: its stage, or that of the configuration refitted on all images."""
    tags = run.data.tags
    return tags.get("entry_point", "") if tags.get("stage") == "refit" else tags.get("stage", "")


def config_of_run(run: Run) -> FeatureConfig:
    """Return the configuration of a classifier's run, with the folders of this machine.

    Raises:
        InputError: If it has no valid configuration of its stage.
    """
    config_class: type[Config] = ENTRY_POINTS[_entry_point(run)]
    try:
        config = validate(config_class, load_config(run.info.run_id))
    except InputError as error:
        raise InputError(
            f"config.json of run {run.info.run_id} must be that of a {config_class.__name__}: {error}"
        ) from None
    assert isinstance(config, FeatureConfig)
    # Folders of the machine of the run are not created here.
    return config if Path(config.data_dir).is_dir() else config.model_copy(update={"data_dir": ""})


def _with_own_backbone(config: FeatureConfig, run: Run) -> FeatureConfig:
    if getattr(config, "train_layers", "fc") == "fc":
        # The recipe of "random" and "auto" may have changed since.
        return config.model_copy(update={"weights": request_of(run.data.tags.get("weights", "")) or config.weights})
    # A network trained beyond its last layer is stored by the run that trained it.
    return config.model_copy(update={"weights": f"runs:/{run.data.tags.get('backbone_run', run.info.run_id)}"})
