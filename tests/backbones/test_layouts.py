import random
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from resnet_mlflow.backbones.layouts import choose, find_groups
from resnet_mlflow.backbones.networks import build_backbone, load_backbone
from resnet_mlflow.backbones.weight_files import tensors_in
from resnet_mlflow.backbones.weights import ResolvedWeights, resolve_weights
from resnet_mlflow.errors import InputError
from tests.backbones.checkpoints import (
    LAYOUTS,
    State,
    distinct_state,
    hugging_face,
    numbered,
    prefixed,
    projector,
    with_fc,
)

SUFFIXES = (".pth", ".pt", ".pth.tar", ".tar", ".ckpt", ".bin", ".PTH", "", ".safetensors", ".model")


def headless(name: str) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = torchvision.models.get_model(name)
    network.fc = nn.Identity()
    return network


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    return {name: headless(name) for name in ("resnet18", "resnet50")}


def from_file(path: Path) -> ResolvedWeights:
    return ResolvedWeights("file:0", "0", path=path)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_build_backbone_loads_every_layout_to_the_bit(
    name: str, layout: str, networks: dict[str, nn.Module], tmp_path: Path
) -> None:
    like = networks[name].state_dict()
    own, other = distinct_state(like, 1), distinct_state(like, 2)
    path = tmp_path / f"mine{SUFFIXES[list(LAYOUTS).index(layout) % len(SUFFIXES)]}"
    torch.save(LAYOUTS[layout](own, other), path)

    loaded = build_backbone(name, resolve_weights(name, str(path), 0)).state_dict()

    assert list(loaded) == list(own)
    for key, tensor in own.items():
        is_counter = key.endswith("num_batches_tracked")
        assert torch.equal(loaded[key], tensor) or (is_counter and layout == "without counters"), key


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pth", ""])
def test_build_backbone_reads_safetensors_under_any_name(suffix: str, tmp_path: Path, networks) -> None:
    own = distinct_state(networks["resnet18"].state_dict(), 1)
    named = prefixed("resnet.", hugging_face(own)) | {"classifier.1.weight": torch.ones(5, 8)}
    save_file({key: tensor.contiguous() for key, tensor in named.items()}, tmp_path / f"model{suffix}")
    loaded = build_backbone("resnet18", from_file(tmp_path / f"model{suffix}")).state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in own.items())


def test_load_backbone_tells_what_was_taken_and_left(tmp_path: Path, networks, caplog) -> None:
    like = networks["resnet18"].state_dict()
    torch.save(LAYOUTS["MoCo"](distinct_state(like, 1), distinct_state(like, 2)), tmp_path / "moco.pth.tar")
    with caplog.at_level("INFO"):
        loaded = load_backbone("resnet18", from_file(tmp_path / "moco.pth.tar"))
    assert loaded.taken == (
        "state_dict/module.encoder_q.*; ignored: state_dict/module.encoder_k.*, state_dict/module.encoder_q.fc.*, "
        "state_dict/module.queue, state_dict/module.queue_ptr and 1 more"
    )
    assert loaded.taken in caplog.text


def test_load_backbone_has_nothing_to_tell_of_a_plain_file(tmp_path: Path, networks) -> None:
    torch.save(with_fc(distinct_state(networks["resnet18"].state_dict(), 1)), tmp_path / "plain.pth")
    assert load_backbone("resnet18", from_file(tmp_path / "plain.pth")).taken == ""


@pytest.mark.parametrize("first", ["a", "b"])
def test_build_backbone_refuses_two_that_fit_equally(first: str, tmp_path: Path, networks) -> None:
    like = networks["resnet18"].state_dict()
    torch.save({first: distinct_state(like, 1), "c": distinct_state(like, 2)}, tmp_path / "two.pth")
    message = rf"weights must be those of one network, got {first}/\* and c/\* in .*, which all fit resnet18 and differ"
    with pytest.raises(InputError, match=message):
        build_backbone("resnet18", from_file(tmp_path / "two.pth"))


def small_stem(own: State) -> State:
    return with_fc(own) | {"conv1.weight": torch.ones(64, 3, 3, 3)}


def clip(own: State) -> State:
    stem = {f"visual.conv{i}.weight": torch.ones(32, 3 if i == 1 else 32, 3, 3) for i in (1, 2, 3)}
    return prefixed("visual.", own) | stem | {"visual.attnpool.positional_embedding": torch.ones(50, 2048)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (small_stem, "those of a resnet18 with a 3x3 stem for small images, as trained on CIFAR; pass other weights"),
        (clip, "those of CLIP's ResNet, with three convolutions in its stem and attention pooling; pass other weights"),
        (lambda own: own | {"layer1.0.se.fc1.weight": torch.ones(8, 64, 1, 1)}, "unexpected layer1.0.se.fc1.weight"),
        (lambda own: own | {"sa.conv1.weight": torch.ones(1, 2, 7, 7)}, "unexpected sa.conv1.weight"),
        (lambda own: own | {"layer5.0.conv1.weight": torch.ones(4)}, "unexpected layer5.0.conv1.weight"),
        (lambda own: own | {"relu.weight": torch.ones(1)}, "unexpected relu.weight"),
        (lambda own: own | {"bn1.bias": torch.ones(65)}, r"shape bn1.bias is \(65,\) instead of \(64,\)"),
        (lambda own: own | {"bn1.bias": torch.ones(64, dtype=torch.int64)}, "shape bn1.bias is torch.int64"),
        (lambda own: {k: v for k, v in own.items() if "running" not in k}, "missing bn1.running_mean"),
        (lambda own: {"ema": {"x": prefixed("a.", own)}, "layer1": 3} | {"q": 1}, ""),
        (
            lambda own: {"model": prefixed("net.", {k: v for k, v in own.items() if k != "conv1.weight"})},
            r"missing conv1.weight in model/net.\*; check the file",
        ),
    ],
)
def test_build_backbone_refuses_in_one_true_sentence(change, message: str, tmp_path: Path, networks) -> None:
    torch.save(change(distinct_state(networks["resnet18"].state_dict(), 1)), tmp_path / "mine")
    if not message:
        build_backbone("resnet18", from_file(tmp_path / "mine"))
        return
    with pytest.raises(InputError, match=rf"^weights must be those of resnet18, got .*/mine: {message}") as caught:
        build_backbone("resnet18", from_file(tmp_path / "mine"))
    assert "\n" not in str(caught.value)


def test_build_backbone_names_the_network_that_a_nested_file_fits(tmp_path: Path, networks) -> None:
    own = distinct_state(networks["resnet50"].state_dict(), 1)
    torch.save({"state_dict": prefixed("module.encoder_q.", own)}, tmp_path / "moco.tar")
    with pytest.raises(InputError, match="those of resnet50; pass backbone=resnet50"):
        build_backbone("resnet18", from_file(tmp_path / "moco.tar"))


def test_tensors_in_drops_names_that_two_tensors_share() -> None:
    first, second = torch.zeros(1), torch.ones(1)
    assert list(tensors_in({0: first, "0": second, "a": {"b": first}})) == ["0~0", "0~1", "a/b"]


def test_tensors_in_ends_where_containers_refer_to_each_other() -> None:
    content: dict[str, object] = {"weight": torch.zeros(1)}
    content["self"] = [content]
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep, deep]
    assert list(tensors_in({"a": content, "deep": deep})) == ["a/weight"]


PLACES = [
    "", "module.", "state_dict/", "state_dict/module.", "model/", "model.", "backbone.", "net/0/", "a/b.c.",
    "student/module.", "teacher/", "model_ema/module.", "state_dict_ema/", "module.encoder_q.", "module.encoder_k.",
    "module.base_encoder.", "momentum_encoder.", "target.", "x0.",
]  # fmt: skip
SCHEMES = [lambda state: state, lambda state: state, numbered, hugging_face]


def put(content: dict, place: str, state: State) -> None:
    *levels, prefix = place.split("/")
    for level in levels:
        content = content.setdefault(level, {})
    content |= prefixed(prefix, state)


def rank(place: str) -> int:
    good, bad = ("teacher", "ema"), ("student", "encoder_k", "momentum", "target")
    return sum(word in place for word in bad) - sum(word in place for word in good)


def damaged(state: State, how: str, draw: random.Random) -> State:
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    name = draw.choice(names)
    if how == "missing":
        gone = draw.sample(names, draw.choice([1, 1, 1, 30]))
        return {key: tensor for key, tensor in state.items() if key not in gone}
    if how == "misshapen":
        return state | {name: torch.ones(draw.choice([(3,), (64, 3, 3, 3), (), (1, *state[name].shape)]))}
    if how == "other kind":
        return state | {name: torch.ones(1, dtype=torch.int64).expand(state[name].shape)}
    if how == "extra":
        return state | {
            f"{name.rpartition('.')[0]}.{draw.choice(['extra', 'se.weight', 'weight_orig'])}": torch.ones(3)
        }
    return state


@pytest.mark.parametrize("seed", range(10))
def test_random_mixtures_are_never_loaded_wrongly(seed: int, networks: dict[str, nn.Module]) -> None:
    """1000 mixtures in all: what is loaded is a whole group as it was put in, the documented one, or nothing."""
    draw = random.Random(seed)
    n_loaded = 0
    for number in range(100):
        name, other = draw.sample(["resnet18", "resnet50"], 2)
        content: dict = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}}}
        whole: dict[str, State] = {}
        for place in draw.sample(PLACES, draw.randint(1, 4)):
            made_for = other if draw.random() < 0.15 else name
            made = distinct_state(networks[made_for].state_dict(), 10 * number + len(whole))
            how = draw.choice(["", "", "missing", "misshapen", "other kind", "extra"])
            put(content, place, draw.choice(SCHEMES)(damaged(made, how, draw)))
            if draw.random() < 0.5:
                put(content, place, projector(draw.choice(["fc.", "head.", "projector."])))
            if not how and made_for == name:
                whole[place] = made

        groups = find_groups(tensors_in(content), networks[name])
        group = choose(groups) if groups and groups[0].fits else None

        best = min(map(rank, whole), default=0)
        if group is None:
            assert sum(rank(place) == best for place in whole) != 1, [found.differences for found in groups]
            continue
        n_loaded += 1
        assert rank(group.prefix) == best
        assert all(group.state[key] is tensor for key, tensor in whole[group.prefix].items())
    assert n_loaded > 20
