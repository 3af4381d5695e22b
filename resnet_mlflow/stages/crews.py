"""Workers that share the work below a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from resnet_mlflow.config import Config, FeatureConfig, WorkersConfig, extraction_of
from resnet_mlflow.errors import InputError
from resnet_mlflow.process import ask_stop
from resnet_mlflow.registry import load
from resnet_mlflow.stages.preparation import digest_of
from resnet_mlflow.tracking import Place, end_abandoned_children, this_place
from resnet_mlflow.workers.cluster import open_workers
from resnet_mlflow.workers.parts import Part, do_parts

if TYPE_CHECKING:
    from distributed import Client

# By name: the jobs of workers import stages that import this module.
ANSWER = "resnet_mlflow.stages.jobs:answer"
FINISHED_BEFORE = "finished before"
# Above all other priorities, because other parts wait for features.
FIRST = 100


class Crew:
    """Workers for one parent run.

    Attributes:
        client: Client of the workers.
        place: Where their runs are logged.
    """

    def __init__(self, client: "Client", place: Place) -> None:
        self.client = client
        self.place = place

    def check(self, config: FeatureConfig, digest: str) -> None:
        """Check that all workers can do their work.

        Args:
            config: Names the dataset.
            digest: Digest of the dataset in this process.

        Raises:
            InputError: If one of them has another version or dataset, or cannot reach the store; the message says what
                it needs.
        """
        answers = self.client.run(load(ANSWER), self._request("check", extraction_of(config), {"digest": digest}))
        for answer in answers.values():
            if "failed" in answer:
                raise InputError(answer["failed"])

    def features(self, config: FeatureConfig) -> Part:
        """Return the part that computes the features for a configuration."""
        # The seed only affects splits of existing features.
        return self.part("features", extraction_of(config).model_copy(update={"seed": 0}), priority=FIRST)

    def part(
        self,
        job: str,
        config: Config,
        after: tuple[str, ...] = (),
        priority: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> Part:
        """Return a part for the workers: a job of ``jobs.JOBS`` with a configuration; see ``Part`` for the rest.

        Args:
            job: Name of the job.
            config: Its configuration.
            after: As in ``Part``.
            priority: As in ``Part``.
            more: Further arguments of the job.
        """
        content = self._request(job, config, more)
        needs_gpu = getattr(config, "device", "cpu") in ("cuda", "auto") and self._has_gpus
        return Part(digest_of(content), content, after, priority, needs_gpu)

    def do(self, parts: Sequence[Part]) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield key and answer of each part as it ends: ``run_id`` and ``how``, or ``failed``."""
        yield from do_parts(self.client, load(ANSWER), parts)

    def _request(self, job: str, config: Config, more: Mapping[str, str] | None = None) -> dict[str, Any]:
        values = config.model_dump(mode="json") | {name: 0 if name == "workers" else "" for name in _of_workers(config)}
        kind = type(config).__name__
        return {"job": job, "kind": kind, "config": values, "place": asdict(self.place), **(more or {})}

    @cached_property
    def _has_gpus(self) -> bool:
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        return any(worker["resources"] for worker in workers)


def _of_workers(config: Config) -> list[str]:
    return [name for name in WorkersConfig.model_fields if name in type(config).model_fields]


@contextmanager
def crew_of(config: WorkersConfig, parent_run_id: str) -> Iterator[Crew | None]:
    """Yield the workers requested by a configuration, if any; runs that they leave unfinished when stopped end KILLED.

    Raises:
        InputError: If they are not available.
    """
    if not config.has_workers:
        yield None
        return
    try:
        with open_workers(config.workers, config.scheduler) as client:
            try:
                yield Crew(client, this_place(parent_run_id))
            except BaseException:
                # Training and tuning check whether they must stop; other work dies with its worker.
                client.run(ask_stop, on_error="ignore")
                raise
    finally:
        end_abandoned_children(parent_run_id)
