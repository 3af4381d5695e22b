"""A lock that lies in the store, so that it holds for all machines that use the store."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b

import mlflow
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from resnet_mlflow.process import process_mark, process_name
from resnet_mlflow.tracking.liveness import PROCESS, beating, is_abandoned, signs

logger = logging.getLogger(__name__)

POLL_S = 1.0


@contextmanager
def promotion_lock(name: str) -> Iterator[None]:
    """Hold the only right to promote models of a name; another process waits here, wherever it runs.

    A name can be registered once only, on whatever store: the lock is a registered model of another name, without
    versions, that is there while it is held. One that a dead process left is taken over.

    Args:
        name: Of the registered model that is locked.
    """
    client = mlflow.MlflowClient()
    lock = f"promotion-lock-{blake2b(name.encode(), digest_size=8).hexdigest()}"
    _take(client, lock, name)
    try:
        with beating(partial(client.set_registered_model_tag, lock)):
            yield
    finally:
        with suppress(MlflowException, ConnectionError, TimeoutError):
            if _holder(client, lock) == process_mark():
                client.delete_registered_model(lock)


def _take(client: mlflow.MlflowClient, lock: str, name: str) -> None:
    told = False
    while True:
        try:
            # MLflow's text for it: the page of registered models shows it.
            told_there = f"A promotion to {name} is under way, by {process_name()}; this entry goes when it is done."
            client.create_registered_model(lock, tags={"worker": process_name(), **signs()}, description=told_there)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        if _holder(client, lock) == process_mark():
            return
        found = _found(client, lock)
        if found is not None and is_abandoned(found.tags):
            logger.warning("the promotion of %s by %s was left undone", name, found.tags.get("worker"))
            with suppress(MlflowException):
                client.delete_registered_model(lock)
            continue
        if found is not None and not told:
            told = True
            logger.warning("%s promotes %s at the moment; waiting for it", found.tags.get("worker"), name)
        time.sleep(POLL_S)


def _holder(client: mlflow.MlflowClient, lock: str) -> str | None:
    found = _found(client, lock)
    return None if found is None else found.tags.get(PROCESS)


def _found(client: mlflow.MlflowClient, lock: str) -> RegisteredModel | None:
    try:
        return client.get_registered_model(lock)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
