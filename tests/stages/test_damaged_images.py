"""One folder with damage of several kinds through all stages: they agree on what is an image and what is none."""

import zlib
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from PIL import Image

from resnet_mlflow.config import (
    ExtractConfig,
    FinetuneConfig,
    FitHeadConfig,
    PredictConfig,
    PromoteConfig,
    RobustnessConfig,
)
from resnet_mlflow.errors import InputError
from resnet_mlflow.stages.extract import run_extract
from resnet_mlflow.stages.finetune import run_finetune
from resnet_mlflow.stages.fit_head import run_fit_head
from resnet_mlflow.stages.predict import run_predict
from resnet_mlflow.stages.promote import run_promote
from resnet_mlflow.stages.robustness import run_robustness
from resnet_mlflow.tracking import find_runs


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def enlarge_by_the_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(bytes(data))


def end_early(path: Path) -> None:
    with Image.open(path) as image:
        image.save(path, "JPEG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[-2:])


def break_the_exif(path: Path) -> None:
    with Image.open(path) as image:
        image.copy().save(path, exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\xff\x01\x12")


# The first image of the split stands for a run in figures, examples and pictures of corruptions.
BAD = {"blue/0.png": flip_a_byte, "green/1.png": end_early, "red/2.png": enlarge_by_the_header}
FINE = {"blue/1.png": break_the_exif, "red/0.png": break_the_exif}


@pytest.fixture
def damaged(image_folder):
    for name, change in (BAD | FINE).items():
        for split in ("train", "test"):
            change(image_folder / split / name)
    return image_folder


@pytest.mark.slow
def test_all_stages_agree_on_damaged_images(store, damaged, tmp_path):
    common = {"dataset": f"folder:{damaged}", "on_bad_image": "skip", "weights": "random", "image_size": 32}
    run_extract(ExtractConfig(**common))
    fitted = run_fit_head(FitHeadConfig(**common, head="linear", attention_maps=2)).run_id
    trained = run_finetune(FinetuneConfig(**common, train_layers="layer4", epochs=1, attention_maps=1)).run_id
    run_promote(PromoteConfig(dataset=common["dataset"], on_bad_image="skip", run_id=fitted))
    run_robustness(RobustnessConfig(runs=f"{fitted},{trained}", corruptions="contrast", severities="1"))
    output = tmp_path / "answers.csv"
    model = "models:/colours-classifier@champion"
    predicted = run_predict(PredictConfig(images=str(damaged / "test"), model=model, output=str(output)))
    assert [str(error.path.relative_to(damaged / "test")) for error in predicted.bad] == list(BAD)
    assert predicted.n_images == 9
    tags = [run.data.tags for stage in ("fit_head", "finetune") for run in find_runs({"stage": stage})]
    assert {each["n_skipped_images"] for each in tags} == {"6"}
    logged = mlflow.artifacts.download_artifacts(f"runs:/{fitted}/evaluation/test/predictions.parquet")
    assert len(pd.read_parquet(logged)) == 9
    assert set(pd.read_csv(output)["path"]) & set(FINE) == set(FINE)


@pytest.mark.parametrize("name", BAD)
def test_stages_name_the_first_bad_image_and_stop(store, image_folder, name):
    BAD[name](image_folder / "train" / name)
    config = ExtractConfig(dataset=f"folder:{image_folder}", weights="random", image_size=32)
    with pytest.raises(InputError, match=f"image cannot be decoded: .*train/{name} .*on_bad_image=skip") as caught:
        run_extract(config)
    assert "\n" not in str(caught.value)


def test_max_pixels_is_kept_by_every_stage(store, image_folder):
    large = image_folder / "test" / "red" / "3.png"
    Image.new("RGB", (300, 200)).save(large)
    config = FitHeadConfig(
        dataset=f"folder:{image_folder}", head="prototype", weights="random", image_size=32, max_pixels=59_999
    )
    with pytest.raises(InputError, match=r"red/3.png \(300 x 200 pixels exceed max_pixels=59999; shrink"):
        run_fit_head(config)
    skipping = run_fit_head(config.model_copy(update={"on_bad_image": "skip"}))
    assert mlflow.get_run(skipping.run_id).data.tags["n_skipped_images"] == "1"
    whole = run_fit_head(config.model_copy(update={"max_pixels": 60_000}))
    assert mlflow.get_run(whole.run_id).data.tags["n_skipped_images"] == "0"
