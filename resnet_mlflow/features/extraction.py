"""Images through a frozen backbone, streamed into the feature store."""

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from resnet_mlflow.backbones.compilation import compile_stages, repays_compiling
from resnet_mlflow.backbones.inference import InferenceForm, inference_form
from resnet_mlflow.backbones.networks import load_backbone
from resnet_mlflow.backbones.weights import ResolvedWeights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.datasets import ImageDataset, ImageSplit
from resnet_mlflow.data.decoding import BadImageError
from resnet_mlflow.data.loading import iterate_batches, normalize
from resnet_mlflow.devices import n_cores, open_fabric, pick_device
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.gathering import Shard, complete, describe, ordered
from resnet_mlflow.features.identity import FeatureIdentity, FeatureSet, features_key, identify, refuse_skipped
from resnet_mlflow.features.row_file import RowFile, drop_rows, runs_of
from resnet_mlflow.features.spans import Done, Skipped, SpanWriter, begin_split
from resnet_mlflow.features.store import EntryWriter, FeatureStore
from resnet_mlflow.features.streaming import Block, images_per_task
from resnet_mlflow.features.streaming import extract_split as extract_split
from resnet_mlflow.process import n_ranks, process_name
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.registry.preprocessing import Preprocessing
from resnet_mlflow.terminal import progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger(__name__)

# Images whose features in int8 are compared with those in float32.
N_COMPARED = 16
# It is 0.997 to 0.9999 where BatchNorm's statistics are those of the images.
LOW_COSINE = 0.98


def extract_features(
    dataset: ImageDataset,
    config: FeatureConfig,
    store: FeatureStore,
    resolved: ResolvedWeights,
    *,
    identity: FeatureIdentity | None = None,
    show_progress: bool = True,
) -> FeatureSet:
    """Return the dataset's features: from the store, or computed and stored.

    If two processes need the same features, the work is done once: the second waits for the first. Under ``torchrun``
    every rank calls this, computes a contiguous share of the rows, and gets the whole result.

    Args:
        dataset: The images.
        config: Backbone, image size, precision, device, batch size, threads and ``on_bad_image``.
        store: The feature store.
        resolved: The backbone's weights.
        identity: Result of ``identify`` for these arguments, if the caller has it.
        show_progress: Whether a bar shows images per second and the time left.

    Raises:
        InputError: If an image cannot be decoded and ``on_bad_image`` is ``fail`` (BadImageError), all images
            of a split are bad, or the store cannot be written to.
    """
    identity = identity or identify(dataset, config, resolved)
    key = features_key(identity)
    found = store.get(key) if n_ranks() == 1 else None
    if found is None:
        request = _Request(
            dataset, config, resolved, identity, _fabric_of(pick_device(config.device), n_ranks()), show_progress
        )
        found = _extract_once(request, store, key)
    refuse_skipped(found, config.on_bad_image)
    return found


@dataclass(frozen=True)
class _Request:
    """Data that every step of one extraction needs."""

    dataset: ImageDataset
    config: FeatureConfig
    resolved: ResolvedWeights
    identity: FeatureIdentity
    fabric: "Fabric"
    show_progress: bool


def _extract_once(request: _Request, store: FeatureStore, key: str) -> FeatureSet:
    """Return the entry, written by this process, its peers, or the previous holder of the lock."""
    fabric = request.fabric
    # Only rank 0 takes the lock and checks: ranks must agree on whether there is work.
    with store.lock(key) if fabric.global_rank == 0 else nullcontext():
        found = store.get(key) if fabric.global_rank == 0 else None
        if not fabric.broadcast(found is not None):
            backbone = load_backbone(request.config.backbone, request.resolved)
            form = _build_form(request, backbone.network)
            with store.writer(key) if fabric.global_rank == 0 else nullcontext() as entry:
                _fill(request, form, entry)
                if entry is not None:
                    entry.meta["weights_taken"] = backbone.taken
                    if request.identity.precision == "int8":
                        entry.meta["int8_cosine"] = _compare_with_float32(request, form, backbone.network, entry)
        fabric.barrier()
    found = found or store.get(key)
    if found is None:
        raise InputError(
            f"features must be readable after they are written, got nothing at {store.path(key)}; run again"
        )
    return found


def _build_form(request: _Request, network: nn.Module) -> InferenceForm:
    backbone, identity, device = request.config.backbone, request.identity, request.fabric.device
    form = inference_form(network, identity.precision, device)
    n_images = sum(len(split) for split in request.dataset.splits.values()) // request.fabric.world_size
    if device.type == "cpu" and repays_compiling(
        backbone, identity.image_size, n_images, identity.precision, n_cores()
    ):
        logger.info("compiling the forward pass, which pays off for %d images", n_images)
        compile_stages(form, images_per_task(identity.image_size), identity.image_size)
    return form


@torch.inference_mode()
def _compare_with_float32(request: _Request, form: InferenceForm, network: nn.Module, entry: EntryWriter) -> float:
    """Return the median cosine of some images' features in int8 with those in float32; warn if it is low."""
    name, split = next(iter(request.dataset.splits.items()))
    left_out = [item["row"] for item in entry.meta["skipped"] if item["split"] == name]
    rows = np.setdiff1d(np.arange(len(split)), left_out)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, N_COMPARED).astype(np.int64))]
    preprocessing = Preprocessing.read(request.identity.preprocessing)
    size = request.identity.image_size
    batches = iterate_batches(split, size, N_COMPARED, 0, rows=rows, preprocessing=preprocessing)
    images = torch.cat([normalize(batch.images, preprocessing=preprocessing) for batch in batches])
    cosines = functional.cosine_similarity(form(images), inference_form(network, "fp32")(images))
    median = float(cosines.median())
    text = "features of %d images in int8 have a median cosine of %.4f with those in float32, the lowest is %.4f"
    logger.info(text, len(images), median, float(cosines.min()))
    if median < LOW_COSINE:
        logger.warning(
            "int8 changes the features (median cosine %.4f with float32's): the running statistics of the weights' "
            "BatchNorm are not those of these images; use precision=fp32",
            median,
        )
    return median


def _fill(request: _Request, form: InferenceForm, entry: EntryWriter | None) -> None:
    """Write all missing rows of all splits; only rank 0 has the entry and completes it."""
    folder = Path(request.fabric.broadcast(str(entry.folder) if entry else ""))
    started, n_done = time.perf_counter(), 0
    skipped: Skipped = []
    for name, split in request.dataset.splits.items():
        before = _done_before(request, folder, name, split)
        n_done += len(before.rows)
        left_out = before.skipped + _write_split(request, form, folder, name, split, before)
        skipped += ordered(left_out, name, split)
    if entry is None:
        return
    seconds = time.perf_counter() - started
    complete(entry, request.dataset, skipped)
    entry.meta = describe(request.dataset, request.identity, request.resolved, skipped, seconds, n_done)
    entry.meta["device"] = request.fabric.device.type


def _done_before(request: _Request, folder: Path, name: str, split: ImageSplit) -> Done:
    """Return the result of an interrupted extraction; all ranks must agree on it."""
    found: Done | None = None
    if request.fabric.global_rank == 0:
        found = begin_split(folder, name, _shape(request, split))
    return cast(Done, request.fabric.broadcast(found))


def _shape(request: _Request, split: ImageSplit) -> tuple[int, int]:
    return len(split), BACKBONES[request.config.backbone].n_features


def _write_split(
    request: _Request, form: InferenceForm, folder: Path, name: str, split: ImageSplit, found: Done
) -> Skipped:
    """Write this rank's share of a split's missing rows; return the images that any rank skipped."""
    fabric = request.fabric
    skipped: Skipped = []
    missing = np.setdiff1d(np.arange(len(split)), found.rows)
    share = np.array_split(missing, fabric.world_size)[fabric.global_rank]
    failure: InputError | None = None
    try:
        if not folder.exists():
            raise InputError(
                f"all processes of an extraction must share cache_dir, got no {folder} on {process_name()}, which the "
                f"first process created; pass a folder that all hosts mount"
            )
        with _progress(request, name, len(share)) as bar:
            for rows in runs_of(share):
                writer = SpanWriter(folder, name, _shape(request, split), int(rows[0]))
                _write_run(request, form, writer, rows, skipped, bar)
    except InputError as error:
        failure = error
    return _gather(fabric, skipped, failure)


def _write_run(
    request: _Request,
    form: InferenceForm,
    writer: SpanWriter,
    rows: NDArray[np.int64],
    skipped: Skipped,
    bar: "tqdm[Any]",
) -> None:
    """Write adjacent rows, and add to ``skipped``; on failure, finished rows are recorded."""
    try:
        for done, features in _blocks(request, form, writer.split, rows, skipped):
            writer.write(done, features, skipped)
            bar.update(len(done))
        writer.note(int(rows[-1]) + 1, skipped)
    finally:
        writer.close(skipped)


def _blocks(
    request: _Request, form: InferenceForm, name: str, rows: NDArray[np.int64], skipped: Skipped
) -> Iterator[Block]:
    """Yield rows of a split and their features; images that cannot be decoded are added to ``skipped``, or raise."""
    config = request.config

    def note(row: int, error: BadImageError) -> None:
        logger.warning("%s: left out", error)
        skipped.append({"split": name, "row": row, "path": str(error.path), "reason": error.reason})

    return extract_split(
        form,
        request.dataset.splits[name],
        request.identity.image_size,
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        rows=rows,
        on_skip=note if config.on_bad_image == "skip" else None,
        preprocessing=Preprocessing.read(request.identity.preprocessing),
    )


def _gather(fabric: "Fabric", skipped: Skipped, failure: InputError | None) -> Skipped:
    """Return the images that any rank skipped; if a rank failed, all raise its error instead of waiting for it."""
    if fabric.world_size == 1:
        if failure is not None:
            raise failure
        return skipped
    bad = (str(failure.path), failure.reason) if isinstance(failure, BadImageError) else None
    outcomes: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(outcomes, (skipped, failure and str(failure), bad))
    for _, message, place in outcomes:
        if message:
            raise BadImageError(Path(place[0]), place[1]) if place else InputError(message)
    return [item for items, _, _ in outcomes for item in items]


def _progress(request: _Request, name: str, n_images: int) -> "tqdm[Any]":
    if not request.show_progress or request.fabric.global_rank != 0:
        return tqdm(disable=True)
    return progress(n_images, "images", f"{request.config.backbone} {name}", in_files=True)


def extract_shard(
    dataset: ImageDataset,
    config: FeatureConfig,
    resolved: ResolvedWeights,
    identity: FeatureIdentity,
    shard: Shard,
    file: Path,
) -> tuple[Skipped, str]:
    """Write the features of some rows of a split to a ``.npy`` file; return the skipped images and the weights used.

    Raises:
        BadImageError: If an image cannot be decoded and ``on_bad_image`` is ``fail``.
    """
    request = _Request(dataset, config, resolved, identity, _fabric_of(pick_device(config.device), 1), False)
    backbone = load_backbone(config.backbone, resolved)
    form = _build_form(request, backbone.network)
    rows, skipped = np.arange(shard.first, shard.stop), list[dict[str, Any]]()
    with RowFile(file, (len(rows), BACKBONES[config.backbone].n_features)) as out:
        for done, features in _blocks(request, form, shard.split, rows, skipped):
            out.write(done - shard.first, features)
    if skipped:
        drop_rows(file, np.setdiff1d(rows, [item["row"] for item in skipped]) - shard.first)
    return skipped, backbone.taken


@lru_cache(maxsize=1)
def _fabric_of(device: str, n_ranks: int) -> "Fabric":
    # A study extracts in many cells; a training run leaves the process group before it extracts.
    return open_fabric(device)
