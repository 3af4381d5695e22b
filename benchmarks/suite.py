"""All benchmarks by name, and a function that runs one of them."""

from importlib import import_module

from benchmarks.harness import Disturbance, Row
from benchmarks.sources import code_digest
from benchmarks.workspace import workspace

# Module and function by name, in the order of the table.
BENCHMARKS = {
    "photos": ("extraction", "photos"),
    "small": ("extraction", "small"),
    "stored": ("extraction", "stored"),
    "decoding": ("decoding", "folders"),
    "tuned": ("backbones", "tuned_peer"),
    "timm": ("backbones", "timm"),
    "resnet50": ("backbones", "resnet50"),
    "resnet101": ("backbones", "resnet101"),
    "runtimes": ("runtimes", "runtimes"),
    "gpu": ("gpu", "gpu"),
    "cosine": ("agreement", "cosine"),
    "int8": ("int8", "int8"),
    "fc": ("finetuning", "fc"),
    "all-layers": ("finetuning", "all_layers"),
    "layer4": ("finetuning", "layer4"),
    "svc-5000": ("heads", "svc_5000"),
    "svc-20000": ("heads", "svc_20000"),
    "svc-predict": ("heads", "svc_predict"),
    "heads-5000": ("heads", "heads_5000"),
    "heads-20000": ("heads", "heads_20000"),
    "heads-50000": ("heads", "heads_50000"),
    "log-model": ("heads", "log_model"),
    "weights": ("weights", "load_file"),
    "memory": ("processes", "memory"),
    "second-fit": ("processes", "second_fit"),
    "longtail": ("longtail", "all_methods"),
    "longtail-fit": ("longtail", "one_method"),
    "serving": ("serving", "serving"),
    "request-cost": ("answering", "request_cost"),
    "promises": ("answering", "promises"),
    "export": ("exports", "int8"),
    "monitor": ("monitoring", "false_alarms"),
    "monitor-power": ("monitoring", "power"),
    "corruptions": ("corruptions", "over_forward"),
    "corruptions-loop": ("corruptions", "over_loop"),
    "load-runs": ("analysis", "load_many"),
    "help": ("startup", "helps"),
    "start-up": ("startup", "stages"),
    "growth-listing": ("growth", "listing"),
    "growth-extraction": ("growth", "extraction"),
    "growth-memory": ("growth", "memory"),
    "growth-heads": ("growth", "heads"),
    "growth-longtail": ("growth", "longtail"),
    "growth-robustness": ("robustness", "growth"),
    "growth-analysis": ("analysis", "growth"),
    "robustness": ("robustness", "heads_together"),
    "trial-overhead": ("tuning", "overhead"),
    "tuning": ("tuning", "against_searches"),
    "coverage": ("coverage", "coverage"),
    "cross-validation": ("cross_validation", "estimates"),
    "audit-twins": ("audit", "twins"),
    "audit-scores": ("audit", "scores"),
    "audit-labels": ("audit", "labels"),
    "audit": ("audit", "whole"),
}

# Benchmarks that --quick skips, so that the rest takes under 3 minutes; also times without a peer, which follow the
# processor's speed.
NOT_QUICK = frozenset(
    {
        *("tuned", "timm", "resnet50", "resnet101", "runtimes", "fc"),
        *("svc-20000", "svc-predict", "heads-5000", "heads-20000", "heads-50000"),
        *("memory", "second-fit", "longtail", "serving", "corruptions", "load-runs", "help", "start-up"),
        *(
            "decoding",
            "growth-listing",
            "growth-extraction",
            "growth-memory",
            "growth-heads",
            "growth-robustness",
            "growth-analysis",
        ),
        *("robustness", "trial-overhead", "tuning", "coverage", "cross-validation"),
        *("request-cost", "promises", "export", "monitor", "monitor-power"),
        *("gpu", "cosine", "int8", "log-model", "longtail-fit", "corruptions-loop", "growth-longtail"),
        *("audit-twins", "audit-scores", "audit-labels", "audit"),
    }
)


def codes() -> dict[str, str]:
    """Return the digest of the measured code of every benchmark, in the order of the table."""
    return {name: code_digest(f"benchmarks.{module}") for name, (module, _) in BENCHMARKS.items()}


def measure(name: str, quick: bool) -> tuple[list[Row], float]:
    """Return a benchmark's rows, and the share of the processor that other processes used meanwhile."""
    module, function = BENCHMARKS[name]
    disturbance = Disturbance()
    with workspace() as folder:
        rows: list[Row] = getattr(import_module(f"benchmarks.{module}"), function)(folder, quick)
    return rows, disturbance.share()
