"""What a head learns and answers does not depend on how many cores there are."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from resnet_mlflow.heads import build_head
from resnet_mlflow.heads.blocks import thread_per_block
from resnet_mlflow.registry.heads import HEADS

DIGITS = load_digits()
X = DIGITS.data.astype(np.float32) @ np.random.default_rng(0).normal(size=(64, 192)).astype(np.float32)
Y = DIGITS.target


def answers(name: str, n_cores: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, bytes]:
    for module in ("blocks", "portable"):
        monkeypatch.setattr(f"resnet_mlflow.heads.{module}.n_cores", lambda: n_cores)
    with threadpool_limits(n_cores, "blas"):
        head = build_head(name, {}, 0)
        head.fit(X[:1100], Y[:1100], X[1100:1300], Y[1100:1300])
        head.calibrate(X[1100:1300], Y[1100:1300])
        return head.temperature_, head.predict_proba(np.concatenate([X[1300:]] * 3)).tobytes()


@pytest.mark.parametrize("name", list(HEADS))
def test_heads_are_equal_to_the_bit_on_any_number_of_cores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = (answers(name, n_cores, monkeypatch) for n_cores in (1, 2, 3))
    assert others == [first, first]


@pytest.mark.parametrize("n_blocks", [0, 1, 2, 30])
def test_results_come_in_the_order_of_the_blocks(n_blocks: int) -> None:
    with thread_per_block() as in_order:
        assert list(in_order(lambda number: number**2, range(n_blocks))) == [number**2 for number in range(n_blocks)]


def test_an_error_in_a_block_is_raised() -> None:
    def fail(number: int) -> int:
        if number == 5:
            raise ValueError("the fifth")
        return number

    with pytest.raises(ValueError, match="the fifth"), thread_per_block() as in_order:
        list(in_order(fail, range(30)))
