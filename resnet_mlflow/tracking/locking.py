"""A lock that lies in the store, so that it holds for all machines that use the store."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import mlflow
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from resnet_mlflow.process import process_mark, process_name
from resnet_mlflow.tracking.liveness import PROCESS, beating, is_abandoned, signs

logger = logging.getLogger(__name__)

POLL_S = 1.0


@dataclass(frozen=True)
class _Lock:
    """What is locked, in words.

    Attributes:
        kind: Begins the entry's name.
        name: Of what is locked.
        doing: What the holder does, after its name.
        undone: What a process that is gone left undone.
    """

    kind: str
    name: str
    doing: str
    undone: str

    @property
    def entry(self) -> str:
        return f"{self.kind}-lock-{blake2b(self.name.encode(), digest_size=8).hexdigest()}"


def promotion_lock(name: str) -> AbstractContextManager[None]:
    """Hold the only right to promote models of a name; another process waits, wherever it runs.

    Args:
        name: Of the registered model that is locked.
    """
    return _held(_Lock("promotion", name, f"is promoting {name}", f"the promotion of {name}"))


def start_lock(key: str, title: str) -> AbstractContextManager[None]:
    """Hold the only right to start, or go on with, a piece of work; another process waits, wherever it runs.

    Args:
        key: Stands for the work.
        title: What it is called.
    """
    return _held(_Lock("start", key, f"is starting {title}", f"the start of {title}"))


@contextmanager
def _held(lock: _Lock) -> Iterator[None]:
    """Hold a lock.

    A name can be registered once only, on whatever store: the lock is a registered model of another name, without
    versions, that is there while it is held. One that a dead process left is taken over.
    """
    client = mlflow.MlflowClient()
    _take(client, lock)
    try:
        with beating(partial(client.set_registered_model_tag, lock.entry)):
            yield
    finally:
        with suppress(MlflowException, ConnectionError, TimeoutError):
            if _holder(client, lock.entry) == process_mark():
                client.delete_registered_model(lock.entry)


def _take(client: mlflow.MlflowClient, lock: _Lock) -> None:
    message, text = False, f"{process_name()} {lock.doing}; this entry is deleted when it is done."
    while True:
        try:
            # The page of registered models shows the text.
            client.create_registered_model(lock.entry, tags={"worker": process_name(), **signs()}, description=text)
        except MlflowException as error:
            # The other's entry may go between MLflow's try to write ours and its look at what is there.
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
        if _holder(client, lock.entry) == process_mark():
            return
        found = _found(client, lock.entry)
        if found is not None and is_abandoned(found.tags):
            logger.warning("%s by %s was left unfinished", lock.undone, found.tags.get("worker"))
            with suppress(MlflowException):
                client.delete_registered_model(lock.entry)
            continue
        if found is not None and not message:
            message = True
            logger.warning("%s %s; waiting for it", found.tags.get("worker"), lock.doing)
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
