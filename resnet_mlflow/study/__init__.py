"""Study files: backbones, heads, fine-tunings and seeds, combined into cells."""

from resnet_mlflow.study.cells import Cell, audit_config, cells, comparisons, few_shot_cells
from resnet_mlflow.study.definition import Study
from resnet_mlflow.study.file import STUDIES, load_study
from resnet_mlflow.study.stress import cells_under_test, robustness_config

__all__ = [
    "STUDIES",
    "Cell",
    "Study",
    "audit_config",
    "cells",
    "cells_under_test",
    "comparisons",
    "few_shot_cells",
    "load_study",
    "robustness_config",
]
