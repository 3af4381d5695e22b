"""Forward passes of an exported network in ONNX Runtime, whose CPU kernels have no bf16 convolution on x86."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn


class OnnxForward:
    """A network as an ONNX Runtime session with its defaults: all cores and all graph optimisations."""

    def __init__(self, network: nn.Module, image_size: int) -> None:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "network.onnx"
            torch.onnx.export(
                network,
                (torch.zeros(2, 3, image_size, image_size),),
                path,
                input_names=["images"],
                dynamic_shapes=({0: torch.export.Dim("n_images")},),
                dynamo=True,
                verbose=False,
            )
            self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(n_images, n_features)`` of normalised ``(n_images, 3, side, side)``."""
        features: NDArray[np.float32] = self._session.run(None, {"images": images})[0]
        return features
