"""Compiles a backbone's forward pass, and decides when that pays off."""

import logging
import shutil
import time

import torch
from torch import Tensor, nn

from resnet_mlflow.backbones.complexity import backbone_complexity
from resnet_mlflow.backbones.inference import InferenceForm

logger = logging.getLogger(__name__)

# Speed of one core in bf16; the rule needs only its order of magnitude.
_GMACS_PER_S = 100.0
# Share of the forward pass that compiling saves, and its cost, as measured: docs/performance.md.
_SAVED = 0.02
_COMPILE_S = 25.0
# Only well beyond break-even: on another machine either may be off by half.
_MARGIN = 2.0
_COMPILERS = ("g++", "clang++")


def repays_compiling(backbone: str, image_size: int, n_images: int, precision: str, n_cores: int) -> bool:
    """Return whether compiling saves at least twice the time that it takes.

    The answer depends only on the request, never on timings: features must not depend on how busy the machine was.
    float32 is never compiled, so that its features stay bit-identical.

    Args:
        backbone: One of ``registry.backbones.BACKBONES``.
        image_size: Side of the network's input in pixels.
        n_images: Images left to process.
        precision: ``fp32``, ``bf16`` or ``int8``.
        n_cores: Concurrent forward passes.

    Example:
        >>> [repays_compiling("resnet18", 224, n, "bf16", 2) for n in (200_000, 400_000)]
        [False, True]
    """
    if precision != "bf16":
        return False
    gmacs = backbone_complexity(backbone, image_size).macs / 1e9
    forward_s = n_images * gmacs / (_GMACS_PER_S * n_cores)
    return forward_s * _SAVED > _MARGIN * _COMPILE_S


class _CompiledStages(nn.Module):
    """Stages compiled for batches of one shape; other batches, such as a split's last, run uncompiled."""

    def __init__(self, stages: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.stages = stages
        self._shape = example.shape
        # Weights become constants. One thread per pass (see features.streaming): the number of threads is compiled in.
        self._compiled = torch.compile(stages, options={"freezing": True, "cpp.threads": 1}, dynamic=False)
        with torch.inference_mode():
            self._compiled(example)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = (self._compiled if images.shape == self._shape else self.stages)(images)
        return maps


def compile_stages(form: InferenceForm, n_images: int, image_size: int) -> bool:
    """Compile the form in place for batches of one size; return whether this machine can.

    Args:
        form: A backbone on the CPU.
        n_images: Images per batch.
        image_size: Their side in pixels.
    """
    if not any(shutil.which(name) for name in _COMPILERS):
        logger.info("the forward pass is not compiled: none of %s is installed", ", ".join(_COMPILERS))
        return False
    started = time.perf_counter()
    example = torch.zeros(n_images, 3, image_size, image_size, dtype=form.dtype)
    form.stages = _CompiledStages(form.stages, example.to(memory_format=torch.channels_last))
    logger.info("the forward pass was compiled in %.0f s", time.perf_counter() - started)
    return True
