"""Image classification with ResNet backbones, tracked in MLflow."""

__version__ = "0.1.0"
