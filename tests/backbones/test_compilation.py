import pytest
import torch
from torch import nn

from resnet_mlflow.backbones.compilation import compile_stages, repays_compiling
from resnet_mlflow.backbones.inference import inference_form


@pytest.mark.parametrize(
    ("n_images", "precision", "n_cores", "repays"),
    [
        # 1.8136 GMAC an image at 100 GMAC/s are 18.136 ms, 2 % of which are 0.3627 ms: 50 s take 137 850 images.
        (137_850, "bf16", 1, False),
        (137_851, "bf16", 1, True),
        (137_851, "bf16", 2, False),
        (10**9, "fp32", 1, False),
    ],
)
def test_repays_compiling_from_a_number_of_images_on(n_images: int, precision: str, n_cores: int, repays: bool) -> None:
    assert repays_compiling("resnet18", 224, n_images, precision, n_cores) is repays


class Stem(nn.Sequential):
    """As short as a network can be that has what compiling changes: a convolution, BatchNorm and ReLU."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the compiler imports
def test_compile_stages_changes_no_features(caplog: pytest.LogCaptureFixture) -> None:
    form = inference_form(Stem().eval(), "bf16")
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    caplog.set_level("INFO")
    with torch.inference_mode():
        expected = form(images)
        if not compile_stages(form, 8, 16):
            pytest.skip("no C++ compiler here")
        torch.testing.assert_close(form(images), expected, rtol=1e-2, atol=1e-3)
        # A batch of another size runs as it is.
        torch.testing.assert_close(form(images[:3]), expected[:3], rtol=1e-2, atol=1e-3)
    assert "the forward pass was compiled in" in caplog.text


def test_compile_stages_says_that_there_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    caplog.set_level("INFO")
    assert not compile_stages(inference_form(Stem().eval(), "bf16"), 8, 16)
    assert "the forward pass is not compiled: none of g++, clang++ is installed" in caplog.text
