"""Forward passes in OpenVINO: a network converted from PyTorch, compiled for throughput."""

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
        batch_size: Number of images per call.
        precision: ``f32`` or ``bf16``, OpenVINO's precision hint.
    """

    def __init__(self, network: nn.Module, image_size: int, batch_size: int, precision: str) -> None:
        shape = [batch_size, 3, image_size, image_size]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # conversion traces the network, which torch deprecates
            model = openvino.convert_model(network, example_input=torch.zeros(shape), input=[shape])
        hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(model, "CPU", hints)
        n_requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._requests = [compiled.create_infer_request() for _ in range(n_requests)]

    def __call__(self, batches: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the features of every batch; OpenVINO chooses how many are processed at once."""
        # Requests are used in turn: the destructor of an AsyncInferQueue with a callback may never return.
        found = []
        for place in range(len(batches) + len(self._requests)):
            request = self._requests[place % len(self._requests)]
            if place >= len(self._requests):
                request.wait()
                found.append(request.get_output_tensor(0).data.copy())
            if place < len(batches):
                request.start_async({0: batches[place]})
        return found
