"""Forward passes by OpenVINO: a network converted from PyTorch, compiled for throughput."""

import warnings

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import nn


class OpenvinoForward:
    """A network compiled by OpenVINO for batches over all cores.

    Args:
        network: A torch module in eval mode.
        image_size: Side of its input in pixels.
        batch_size: Of every call.
        precision: ``f32`` or ``bf16``, the hint that OpenVINO takes.
    """

    def __init__(self, network: nn.Module, image_size: int, batch_size: int, precision: str) -> None:
        shape = [batch_size, 3, image_size, image_size]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it traces the network, which torch deprecates
            model = openvino.convert_model(network, example_input=torch.zeros(shape), input=[shape])
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        self._compiled = openvino.Core().compile_model(model, "CPU", hints)

    def __call__(self, batches: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the features of every batch; as many are under way as OpenVINO finds best."""
        found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(batches)
        queue = openvino.AsyncInferQueue(self._compiled)

        def keep(request: openvino.InferRequest, place: int) -> None:
            found[place] = request.get_output_tensor(0).data.copy()

        queue.set_callback(keep)
        for place, images in enumerate(batches):
            queue.start_async({0: images}, place)
        queue.wait_all()
        return found
