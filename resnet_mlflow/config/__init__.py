"""One frozen model per entry point: types, ranges, defaults and help of every parameter.

The command line (``cli``) and ``MLproject`` (``project_file``) are derived from these models.
Models combine by inheritance; a function takes the narrowest one it needs. MLflow passes every parameter as text, and
treats a ``None`` default as "required"; therefore ``""``, ``0`` and named choices mean "not given".
"""

from resnet_mlflow.config.answering import AnsweringConfig
from resnet_mlflow.config.audit import AuditConfig
from resnet_mlflow.config.base import EXECUTION_ONLY, Backbone, Config, Head, Seed
from resnet_mlflow.config.compare import CompareConfig, ReportConfig
from resnet_mlflow.config.cross_validation import CrossValidationConfig
from resnet_mlflow.config.data import DataConfig, DatasetConfig, ExtractConfig, FeatureConfig, extraction_of
from resnet_mlflow.config.export import ExportConfig
from resnet_mlflow.config.heads import CalibrationConfig, EvaluationConfig, FitHeadConfig, HeadConfig
from resnet_mlflow.config.longtail import LongtailConfig, ProfileConfig
from resnet_mlflow.config.main import MainConfig
from resnet_mlflow.config.monitoring import MonitorConfig, PowerConfig
from resnet_mlflow.config.prediction import ClassifyConfig, PredictConfig
from resnet_mlflow.config.promotion import PromoteConfig
from resnet_mlflow.config.robustness import RobustnessConfig
from resnet_mlflow.config.training import FinetuneConfig, ImageTrainingConfig, TrainingConfig
from resnet_mlflow.config.tuning import TuningConfig
from resnet_mlflow.config.workers import WorkersConfig

__all__ = [
    "ENTRY_POINTS",
    "EXECUTION_ONLY",
    "AnsweringConfig",
    "AuditConfig",
    "Backbone",
    "CalibrationConfig",
    "ClassifyConfig",
    "CompareConfig",
    "Config",
    "CrossValidationConfig",
    "DataConfig",
    "DatasetConfig",
    "EvaluationConfig",
    "ExportConfig",
    "ExtractConfig",
    "FeatureConfig",
    "FinetuneConfig",
    "FitHeadConfig",
    "Head",
    "HeadConfig",
    "ImageTrainingConfig",
    "LongtailConfig",
    "MainConfig",
    "MonitorConfig",
    "PowerConfig",
    "PredictConfig",
    "ProfileConfig",
    "PromoteConfig",
    "ReportConfig",
    "RobustnessConfig",
    "Seed",
    "TrainingConfig",
    "TuningConfig",
    "WorkersConfig",
    "extraction_of",
]

ENTRY_POINTS: dict[str, type[Config]] = {
    "main": MainConfig,
    "extract": ExtractConfig,
    "fit_head": FitHeadConfig,
    "finetune": FinetuneConfig,
    "longtail": LongtailConfig,
    "promote": PromoteConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "monitor": MonitorConfig,
    "compare": CompareConfig,
    "robustness": RobustnessConfig,
    "audit": AuditConfig,
}
