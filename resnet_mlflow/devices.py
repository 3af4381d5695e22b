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

# Variables from which libraries learn how many cores a process has.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Number formats in which networks run.
PRECISIONS = ("fp32", "bf16", "int8")
_CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
_VECTORS = {"avx512": "avx512f", "avx2": "avx2", "neon": "asimd"}
# One of these exists if a driver could provide torch with an accelerator (NVIDIA, NVIDIA on WSL, AMD).
_ACCELERATOR_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg", "/dev/kfd")


def pick_precision(precision: str, device: str) -> str:
    """Return ``fp32``, ``bf16`` or ``int8``: ``auto`` is bf16 if the device computes it natively, otherwise fp32.

    Args:
        precision: ``auto``, ``fp32``, ``bf16`` or ``int8``.
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
    """Return ``cpu``, ``cuda`` or ``mps``; torch is imported only if there may be an accelerator.

    Raises:
        InputError: If the named device is not available.
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
    # Only x86-64 was measured: elsewhere, fp32 is the safe choice.
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    return bool(_CPU_BF16_FLAGS & set(cpu_info("flags").split()))


def processor() -> str:
    """Return what the last bits of sums depend on: processor, SIMD, threads; for example ``EPYC, avx2, 2 threads``."""
    flags = cpu_info("flags").split()
    vectors = next((f"{name}, " for name, flag in _VECTORS.items() if flag in flags), "")
    given = os.environ.get("OMP_NUM_THREADS", "")
    n_threads = int(given) if given.isdecimal() else n_cores()
    name = cpu_info("model name") or platform.processor() or platform.machine()
    return f"{name}, {vectors}{n_threads} thread{'s' if n_threads > 1 else ''}"


def cpu_info(field: str) -> str:
    """Return a field of the first core in ``/proc/cpuinfo``; empty if there is none."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    found = next((line for line in lines if line.startswith(field)), "")
    return found.partition(":")[2].strip()


def _may_have_accelerator() -> bool:
    return not sys.platform.startswith("linux") or any(Path(name).exists() for name in _ACCELERATOR_FILES)


def n_cores() -> int:
    """Return the number of processor cores that this process may use.

    It is limited by affinity, the quota of the container (cgroup v1 and v2), and ``LOKY_MAX_CPU_COUNT`` if set.
    """
    from joblib import cpu_count

    n: int = cpu_count()
    return n


def keep_to_quota() -> None:
    """Limit the threads of libraries to the cores in the container's quota: by default they count the machine's.

    Call it before torch is imported. If ``OMP_NUM_THREADS`` is set, the user has decided.
    """
    n_given = n_cores()
    if "OMP_NUM_THREADS" in os.environ or n_given >= len(
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    ):
        return
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_given)))
    # NumPy, which was imported for counting cores, has already read them.
    threadpool_limits(n_given, "blas")


def wait_asleep() -> None:
    """Let threads that wait for each other sleep soon instead of continuing to spin.

    On a shared machine, spinning threads block the core for the thread that they wait for: the speed of training with
    two threads fell to a tenth. Spinning for a tenth of a millisecond costs nothing on an idle machine; sleeping at
    once costs a tenth. Call it before torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "100000")


def open_fabric(device: str, precision: str = "fp32") -> "Fabric":
    """Return a launched fabric, which moves networks and batches to the device and runs them in mixed precision.

    It has one device; under ``torchrun``, each rank has its own.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` or ``bf16``; weights and gradients are float32 in both. Heads on features in int8 are
            trained as with ``fp32``.
    """
    # Imported late: callers that find existing results need not wait for it.
    with without_compiler():
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    world = n_ranks()
    n_local = int(os.environ["LOCAL_WORLD_SIZE"]) if world > 1 else 1
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it logs its precision each time
    fabric = Fabric(
        accelerator=device,
        devices=n_local,
        num_nodes=world // n_local,
        strategy="ddp" if world > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # Set explicitly, because Fabric would also interpret a batch system's variables as a distributed run.
        plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def n_gpus() -> int:
    """Return the number of CUDA devices; torch is imported only if there may be some."""
    if not sys.platform.startswith("linux") or not _may_have_accelerator():
        return 0
    import torch

    return torch.cuda.device_count()
