"""From image files to features, as torchvision's own transform and network go."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from resnet_mlflow.backbones.weights import checkpoint_folder, resolve_weights
from resnet_mlflow.config import FeatureConfig
from resnet_mlflow.data.catalogue import load_dataset
from resnet_mlflow.features.extraction import extract_features
from resnet_mlflow.features.store import FeatureStore
from resnet_mlflow.registry.backbones import BACKBONES
from tests.data.test_weights_preprocessing import photo


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> torch.nn.Module:
    """Put a network's weights where torchvision would keep those of resnet50, and return the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))
    checkpoint_folder().mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        network: torch.nn.Module = torchvision.models.resnet50(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    name = f"resnet50-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (checkpoint_folder() / name).write_bytes(content)
    row = BACKBONES["resnet50"]
    monkeypatch.setitem(BACKBONES._rows, "resnet50", replace(row, weights=dict.fromkeys(row.weights, name)))
    return network


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "IMAGENET1K_V2"])
def test_features_of_published_weights_are_torchvisions(name: str, published: torch.nn.Module, tmp_path: Path) -> None:
    paths = []
    for i, (height, width) in enumerate([(427, 640), (640, 427), (300, 500), (120, 91), (1000, 801), (500, 375)]):
        path = tmp_path / "images" / ("ab"[i % 2]) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(height, width)).save(path)
        paths.append(path)
    dataset = load_dataset(f"folder:{tmp_path / 'images'}", data_dir=tmp_path)
    config = FeatureConfig(backbone="resnet50", weights=name, image_size=224, precision="fp32", device="cpu")
    features = extract_features(dataset, config, FeatureStore(tmp_path), resolve_weights("resnet50", name, 0))

    transform = torchvision.models.ResNet50_Weights[name].transforms()
    published.fc = torch.nn.Identity()
    for split_name, split in features.splits.items():
        own = dataset.splits[split_name].paths
        assert own is not None
        with torch.inference_mode():
            expected = published(torch.stack([transform(Image.open(path)) for path in own])).numpy()
        np.testing.assert_allclose(split.features, expected, rtol=0, atol=2e-3 * np.abs(expected).max())
