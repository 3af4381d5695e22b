"""A lock inside the store, so that it holds for all machines that use the store."""

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
    """Description of what is locked.

    Attributes:
        kind: Prefix of the entry's name.
        name: Name of what is locked.
        doing: What the holder does, shown after its name.
        undone: What a dead process left unfinished.
    """

    kind: str
    name: str
    doing: str
    undone: str

    @property
    def entry(self) -> str:
        return f"{self.kind}-lock-{blake2b(self.name.encode(), digest_size=8).hexdigest()}"


def promotion_lock(name: str) -> AbstractContextManager[None]:
    """Hold the exclusive right to promote models with a name; other processes wait, on any machine.

    Args:
        name: Name of the registered model to lock.
    """
    return _held(_Lock("promotion", name, f"is promoting {name}", f"the promotion of {name}"))


def start_lock(key: str, title: str) -> AbstractContextManager[None]:
    """Hold the exclusive right to start or continue a piece of work; other processes wait, on any machine.

    Args:
        key: Key of the work.
        title: Name of the work.
    """
    return _held(_Lock("start", key, f"is starting {title}", f"the start of {title}"))


@contextmanager
def _held(lock: _Lock) -> Iterator[None]:
    """Hold a lock.

    In any store, a name can be registered only once: the lock is a registered model with another name and no versions
    that exists while the lock is held. A lock left by a dead process is taken over.
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
            # The page of registered models shows this text.
            client.create_registered_model(lock.entry, tags={"worker": process_name(), **signs()}, description=text)
        except MlflowException as error:
            # The other's entry may disappear between MLflow's attempt to write ours and its check for an existing one.
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
