"""Image classification with ResNet backbones, tracked in MLflow."""

__version__ = "0.2.0"
