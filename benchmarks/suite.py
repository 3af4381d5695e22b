"""All benchmarks by name, and what one of them measures."""

from importlib import import_module

from benchmarks.harness import Disturbance, Row
from benchmarks.workspace import workspace

# Module and function by name, in the order of the table.
BENCHMARKS = {
    "photos": ("extraction", "photos"),
    "small": ("extraction", "small"),
    "cosine": ("agreement", "cosine"),
    "fc": ("finetuning", "fc"),
    "svc-5000": ("heads", "svc_5000"),
    "svc-20000": ("heads", "svc_20000"),
    "log-model": ("heads", "log_model"),
    "memory": ("processes", "memory"),
    "second-fit": ("processes", "second_fit"),
    "longtail": ("longtail", "all_methods"),
    "longtail-fit": ("longtail", "one_method"),
    "trial-overhead": ("tuning", "overhead"),
    "tuning": ("tuning", "against_searches"),
}


def measure(name: str, quick: bool) -> tuple[list[Row], float]:
    """Return a benchmark's rows, and the share of the processor that others had meanwhile."""
    module, function = BENCHMARKS[name]
    disturbance = Disturbance()
    with workspace() as folder:
        rows: list[Row] = getattr(import_module(f"benchmarks.{module}"), function)(folder, quick)
    return rows, disturbance.share()
