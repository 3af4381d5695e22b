"""Stage `audit`: problems of a dataset as metrics, tables of issues, and a page with pictures."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from resnet_mlflow.audit.audit import Audit, audit_dataset
from resnet_mlflow.audit.crossfit import N_FOLDS
from resnet_mlflow.audit.issues import KINDS
from resnet_mlflow.audit.page import remarks_of, render_page
from resnet_mlflow.config import AuditConfig
from resnet_mlflow.csv_text import csv_of
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.markdown import markdown_table, plain
from resnet_mlflow.stages.extract import ensure_features
from resnet_mlflow.stages.preparation import Inputs, compute_cache_key, prepare
from resnet_mlflow.stages.reporting import Outcome
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import StageRun, stage_run

logger = logging.getLogger(__name__)

# Units of work of the steps relative to measuring an image, from an audit of 60 000 images of CIFAR-10.
_STEPS = {
    "finding near-duplicates": 0.8,
    "comparing near-duplicates": 0.6,
    "finding outliers": 0.2,
    "measuring cues": 0.1,
}
_FOLDS_SHARE = 1.0


def run_audit(config: AuditConfig) -> Outcome:
    """Return the metrics of an audit; its findings are artifacts of its run under ``audit/``.

    Raises:
        InputError: If the dataset, the weights or the features are not available.
    """
    inputs = prepare(config)
    tags = inputs.tags | {
        "backbone": config.backbone,
        "seed": config.seed,
        "cache_key": compute_cache_key("audit", config, inputs),
    }
    name = f"audit {config.backbone} {inputs.dataset.short_name} s{config.seed}"
    with stage_run("audit", config, name, tags) as run:
        features = ensure_features(config, inputs)
        inputs = inputs.without(features)
        started = time.perf_counter()
        audit = _audit(config, inputs, features)
        times = {"time/audit_s": time.perf_counter() - started}
        _write(run, config, inputs, audit)
        run.log_metrics(audit.metrics | times)
        run.set_tags({"n_skipped_images": inputs.n_skipped})
        run.log_note(_note(inputs, audit))
    for remark in remarks_of(audit):
        logger.info("%s", remark)
    logger.info(
        "%d issues: see artifacts audit/audit.html and audit/issues.csv of run %s", len(audit.issues), run.run_id
    )
    return Outcome(run.run_id, audit.metrics | times)


def _audit(config: AuditConfig, inputs: Inputs, features: FeatureSet) -> Audit:
    n_images = sum(map(len, inputs.dataset.splits.values()))
    with _progress(n_images) as bar:

        def on_step(name: str) -> None:
            bar.set_description(f"audit: {name}")
            bar.update(round(_STEPS.get(name, 0) * n_images))

        return audit_dataset(
            inputs.dataset,
            features,
            seed=config.seed,
            num_workers=config.num_workers,
            on_step=on_step,
            on_images=bar.update,
            on_fold=lambda _: bar.update(round(_FOLDS_SHARE * n_images / N_FOLDS)),
        )


@contextmanager
def _progress(n_images: int) -> "Iterator[tqdm[Any]]":
    """Yield a progress bar for the whole audit, with the step and the remaining time."""
    total = n_images + round(_FOLDS_SHARE * n_images / N_FOLDS) * N_FOLDS
    total += sum(round(share * n_images) for share in _STEPS.values())
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left"
    with progress(total, "", "audit", in_files=True, form=form) as bar:
        yield bar


def _write(run: StageRun, config: AuditConfig, inputs: Inputs, audit: Audit) -> None:
    dataset = inputs.dataset
    facts = (
        f"{len(audit.pool):,} images of {len(dataset.class_names):,} classes in {', '.join(audit.pool.splits)}; digest "
        f"{dataset.digest}.",
        f"Labels were checked by linear heads on features of {config.backbone} ({inputs.weights.label}); no head was "
        "fitted on the image it judges, nor on a copy or near-duplicate of it"
        + (", nor on another image of its group." if config.group_by else "."),
    )
    with run.artifacts() as artifacts:
        folder = artifacts / "audit"
        folder.mkdir()
        audit.issues.to_parquet(folder / "issues.parquet", index=False)
        (folder / "issues.csv").write_text(csv_of(audit.issues), encoding="utf-8")
        audit.leaks.to_parquet(folder / "test_twins.parquet", index=False)
        page = render_page(f"Audit of {dataset.short_name}", facts, audit, dataset, config.thumbnails)
        (folder / "audit.html").write_text(page, encoding="utf-8")


def _note(inputs: Inputs, audit: Audit) -> str:
    counts = audit.issues["kind"].value_counts()
    rows = [[kind.title, f"{counts[name]:,}", kind.advice] for name, kind in KINDS.items() if name in counts]
    table = "\n".join(markdown_table(["finding", "images", "what to do"], rows)) if rows else "Nothing was found."
    heading = f"**Audit** of {plain(inputs.dataset.name)}: see `audit/audit.html`."
    return "\n\n".join([heading, *map(plain, remarks_of(audit)), table, *inputs.remarks])
