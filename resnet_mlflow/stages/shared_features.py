"""Features in the tracking store for other machines: files are sent and fetched one by one and can resume."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from resnet_mlflow.config import ExtractConfig, FeatureConfig
from resnet_mlflow.errors import InputError
from resnet_mlflow.features.entries import META, SHARD_ROWS, Expected
from resnet_mlflow.features.gathering import Brought, Shard, gather_features
from resnet_mlflow.features.identity import FeatureSet
from resnet_mlflow.features.transport import pack
from resnet_mlflow.files.scratch import scratch_folder
from resnet_mlflow.registry.backbones import BACKBONES
from resnet_mlflow.stages.crews import Crew
from resnet_mlflow.stages.preparation import Inputs, prepare
from resnet_mlflow.terminal import progress
from resnet_mlflow.tracking import StageRun, artifact_sizes, download, find_runs, send_file

logger = logging.getLogger(__name__)

FOLDER = "features"
# Name in ``jobs.JOBS``: a worker's part of an extraction.
ROWS = "rows"
# No backbone has longer features.
MAX_SHARD_BYTES = SHARD_ROWS * 2**16
_SHARED = {"stage": "extract", "shared_features": "true"}


def are_shared(key: str) -> bool:
    """Return whether a run in the tracking store has the features."""
    return bool(find_runs({**_SHARED, "features_key": key}))


def share(run: StageRun, features: FeatureSet, entry: Path) -> None:
    """Send an entry of the feature store to a run; files that the run already has are not sent again.

    Args:
        run: The run; an earlier transfer may have been interrupted.
        features: The content of the entry.
        entry: Folder of the entry.
    """
    there = artifact_sizes(run.run_id, FOLDER)
    with scratch_folder() as scratch:
        for file in pack(entry, features, scratch):
            # The metadata make it complete, and an equal size does not prove that they are the same.
            if file.name == META or there.get(file.name) != file.stat().st_size:
                send_file(run.run_id, file, FOLDER)
            else:
                logger.debug("%s was sent before", file.name)


def fetch(config: FeatureConfig, inputs: Inputs) -> FeatureSet | None:
    """Return features from a run on another machine, after copying them to the local store."""
    key = inputs.features_key
    n_columns = BACKBONES[config.backbone].n_features
    expected = Expected(key, inputs.dataset.splits, inputs.dataset.class_names, n_columns)
    for run in find_runs({**_SHARED, "features_key": key}):
        run_id = run.info.run_id
        logger.info("fetching features %s from run %s", key[:12], run_id)

        try:
            features = inputs.store.put_from(partial(_lend, run_id, expected.max_bytes), expected)
        except InputError as error:  # Whatever is in the tracking store, this machine can compute them.
            logger.warning("features of run %s cannot be used: %s", run_id, error)
            continue
        if features is not None:
            return features
    return None


@contextmanager
def _lend(run_id: str, max_bytes: int, name: str) -> Iterator[Path]:
    with scratch_folder() as folder:
        yield download(run_id, f"{FOLDER}/{name}", folder, max_bytes)


def extract_by(crew: Crew, config: ExtractConfig, inputs: Inputs, run: StageRun) -> FeatureSet:
    """Return features computed by workers shard by shard, and passed through the artifacts of a run.

    Args:
        crew: The workers.
        config: Configuration of the extraction.
        inputs: Inputs of the extraction.
        run: Run of the extraction.

    Raises:
        InputError: If a worker fails.
    """
    crew.check(config, inputs.dataset.digest)

    def bring(missing: Sequence[Shard]) -> Iterator[Brought]:
        parts, shards = [], {}
        for shard in missing:
            fields = {name: str(value) for name, value in asdict(shard).items()}
            parts.append(crew.part(ROWS, config, more=fields))
            shards[parts[-1].key] = shard
        n_rows = sum(shard.stop - shard.first for shard in missing)
        with progress(n_rows, "images", config.backbone, in_files=True) as bar:
            for key, answer in crew.do(parts):
                shard = shards[key]
                if "failed" in answer:
                    raise InputError(answer["failed"])
                lent = _lend(run.run_id, MAX_SHARD_BYTES, shard.file_name)
                yield Brought(shard, lent, json.loads(answer["skipped"]), answer["taken"])
                bar.update(shard.stop - shard.first)

    return gather_features(inputs.dataset, inputs.identity, inputs.weights, inputs.store, bring)


def hand_over(config: ExtractConfig, shard: Shard, run_id: str) -> dict[str, str]:
    """As a worker, compute a shard and send it to a run; return the omitted images and the weights used."""
    from resnet_mlflow.features.extraction import extract_shard

    inputs = prepare(config)
    with scratch_folder() as folder:
        file = folder / shard.file_name
        skipped, taken = extract_shard(inputs.dataset, config, inputs.weights, inputs.identity, shard, file)
        send_file(run_id, file, FOLDER)
    return {"skipped": json.dumps(skipped), "taken": taken}
