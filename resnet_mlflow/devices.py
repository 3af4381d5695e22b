"""Where networks run and how precisely: the device, the number format, the cores."""

import logging
import os
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from resnet_mlflow.errors import InputError
from resnet_mlflow.process import n_ranks, without_compiler

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# By which libraries know how many cores a process has.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_VECTORS = {"avx512": "avx512f", "avx2": "avx2", "neon": "asimd"}
# One of these exists where a driver could give torch an accelerator (NVIDIA, NVIDIA on WSL, AMD).
_ACCELERATOR_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg", "/dev/kfd")


def pick_precision(precision: str, device: str) -> str:
    """Return ``fp32`` or ``bf16``: ``auto`` is bf16 where the device computes it natively.

    Args:
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    if precision != "auto":
        return precision
    if device == "cpu":
        return "bf16" if cpu_has_bf16() else "fp32"
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"


def pick_device(device: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps``; torch is imported only where there may be an accelerator.

    Raises:
        InputError: If the device named is not there.
    """
    if device == "cpu" or (device == "auto" and not _may_have_accelerator()):
        return "cpu"
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next((name for name, there in present.items() if there), "cpu")
    if not present[device]:
        raise InputError(f"device must be available to torch here, got {device!r}; pass device=auto or device=cpu")
    return device


@lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Return whether the processor multiplies bf16 natively; False if that is unknown."""
    # Only x86-64 was measured: elsewhere fp32 is the safe answer.
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    return bool(_CPU_BF16_FLAGS & set(cpu_info("flags").split()))


def processor() -> str:
    """Return what the last bits of sums depend on: processor, vectors, threads; such as ``EPYC, avx2, 2 threads``."""
    flags = cpu_info("flags").split()
    vectors = next((f"{name}, " for name, flag in _VECTORS.items() if flag in flags), "")
    given = os.environ.get("OMP_NUM_THREADS", "")
    n_threads = int(given) if given.isdecimal() else n_cores()
    name = cpu_info("model name") or platform.processor() or platform.machine()
    return f"{name}, {vectors}{n_threads} thread{'s' if n_threads > 1 else ''}"


def cpu_info(field: str) -> str:
    """Return a field of the first core in Linux's list; empty where there is none."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    found = next((line for line in lines if line.startswith(field)), "")
    return found.partition(":")[2].strip()


def _may_have_accelerator() -> bool:
    return not sys.platform.startswith("linux") or any(Path(name).exists() for name in _ACCELERATOR_FILES)


def n_cores() -> int:
    """Return how many processor cores this process may use.

    By its affinity, the quota of its container (cgroup v1 and v2), and ``LOKY_MAX_CPU_COUNT``, where that is set.
    """
    from joblib import cpu_count

    n: int = cpu_count()
    return n


def keep_to_quota() -> None:
    """Let libraries start as many threads as the container's quota has cores for: they count the machine's.

    To be called before torch is imported. Where ``OMP_NUM_THREADS`` is set, a user has decided.
    """
    n_given = n_cores()
    if "OMP_NUM_THREADS" in os.environ or n_given >= len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    ):
        return
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_given)))
    # NumPy, which counting cores has imported, has read them before.
    threadpool_limits(n_given, "blas")


def wait_asleep() -> None:
    """Let threads that wait for each other soon sleep instead of spinning on.

    On a machine that others use too, those that spin keep the core from the one that they wait for: training by two
    threads fell to a tenth. To spin for a tenth of a millisecond costs nothing where the machine is idle; to sleep at
    once costs a tenth. To be called before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "100000")


def open_fabric(device: str, precision: str = "fp32") -> "Fabric":
    """Return what moves networks and batches to the device and runs them in mixed precision; launched.

    One device, or under ``torchrun`` the rank's own beside those of the other ranks.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``; weights and gradients are float32 in both.
    """
    # Late, because whoever finds what was made before need not wait for it.
    with without_compiler():
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    world = n_ranks()
    n_local = int(os.environ["LOCAL_WORLD_SIZE"]) if world > 1 else 1
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision each time
    fabric = Fabric(
        accelerator=device,
        devices=n_local,
        num_nodes=world // n_local,
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # Named, because Fabric would also take a batch system's variables for a distributed run.
        plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def n_gpus() -> int:
    """Return how many CUDA devices there are; torch is imported only where there may be some."""
    if not sys.platform.startswith("linux") or not _may_have_accelerator():
        return 0
    import torch

    return torch.cuda.device_count()
