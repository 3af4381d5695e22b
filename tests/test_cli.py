import forked
import pytest

from resnet_mlflow.cli import parse
from resnet_mlflow.config import FinetuneConfig, FitHeadConfig, PredictConfig
from resnet_mlflow.errors import InputError


def test_parse_types_values_as_the_config_says():
    config = parse(FinetuneConfig, ["--learning_rate", "1e-2", "--share_features", "false", "--epochs", "3"])
    assert (config.learning_rate, config.share_features, config.epochs) == (0.01, False, 3)


def test_parse_keeps_empty_strings():
    assert parse(FitHeadConfig, ["--data_dir", "", "--cache_dir", ""]).data_dir == ""


def test_parse_takes_values_with_spaces_and_braces():
    assert parse(FitHeadConfig, ["--head_params", "{C: 1, kernel: linear}"]).head_params == "{C: 1, kernel: linear}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--learnig_rate", "1"],
            r"unknown parameter 'learnig_rate'; did you mean 'learning_rate'\?; valid parameters: ",
        ),
        (["--epochs", "-3"], r"^epochs must be at least 1, got '-3'$"),
        (["--epochs", "2.5"], r"^epochs must be a whole number, got '2.5'$"),
        (["--learning_rate", "fast"], r"^learning_rate must be a number, got 'fast'$"),
        (["--learning_rate", "0"], r"^learning_rate must be greater than 0.0, got '0'$"),
        (["--learning_rate", "nan"], r"learning_rate must be"),
        (
            ["--precision", "int8", "--train_layers", "layer4"],
            r"^precision must be auto, fp32 or bf16 with train_layers=layer4 and augmentation=none, got 'int8'; only ",
        ),
        (["--share_features", "maybe"], r"^share_features must be true or false, got 'maybe'$"),
        (
            ["--backbone", "resnet19"],
            r"^backbone must be one of .*'wide_resnet101_2' or 'timm:NAME', got 'resnet19'; did you mean 'resnet18'",
        ),
        (["--image_size", "7"], r"^image_size must be 0 .* or in \[16, 4096\], got '7'$"),
        (["--image_size", "100000"], r"^image_size must be at most 4096, got '100000'$"),
        (["--epochs", "2", "--warmup_epochs", "2"], r"^warmup_epochs must be below epochs \(2\), got 2; raise epochs$"),
        (["--dataset", ""], r"^dataset must not be empty, got ''$"),
        (["digits"], r"^parameters must be written as --name value, got 'digits'$"),
    ],
)
def test_parse_refuses_in_one_line(arguments, line):
    with pytest.raises(InputError, match=line) as caught:
        parse(FinetuneConfig, arguments)
    assert "\n" not in str(caught.value)


def test_parse_refuses_attention_maps_of_a_head_without_gradients():
    with pytest.raises(InputError, match=r"attention_maps needs a head with gradients .* got head 'svm'"):
        parse(FitHeadConfig, ["--attention_maps", "4"])


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "text"),
    [
        (["--help"], 0, "stdout", "--study VALUE"),
        (["--stduy", "x"], 2, "stderr", "error: unknown parameter 'stduy'; did you mean 'study'?"),
        (
            ["--study", "nothing"],
            2,
            "stderr",
            "error: study must be a YAML file or one of augmentation, cifar10, digits, small, got 'nothing'",
        ),
    ],
)
def test_entry_point_exits_with_one_line(arguments, code, stream, text):
    ran = forked.run(["-m", "entrypoints.main", *arguments])
    assert ran.returncode == code
    assert text in getattr(ran, stream)
    assert "Traceback" not in ran.stderr


STOPPED = """
import os, signal, sys, time
from resnet_mlflow import cli, config
def stage(given):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
config_class = getattr(config, sys.argv.pop())
cli.run_entry_point(config_class, stage)
"""


@pytest.mark.parametrize(
    ("config_class", "line"),
    [
        (FinetuneConfig, "stopped; run the same command again to continue\n"),
        (PredictConfig, "stopped; nothing was written: run the same command again to start over\n"),
    ],
)
def test_entry_point_that_is_stopped_says_what_is_left(config_class, line):
    ran = forked.run(["-c", STOPPED, config_class.__name__])
    assert (ran.returncode, ran.stderr) == (130, line)


def test_main_leaves_out_the_middle_of_a_long_line(run_module):
    ran = run_module("main", "--study", "/d" * 5000, "--dataset", "digits" * 2000)
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(line) < 2010
    ran = run_module("fit_head", "--head_params", "{C: 1, " + "x" * 3000 + ": 1}")
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert len(line) < 2010
    assert "x ... " in line or "x..." in line


@pytest.mark.slow
def test_a_stage_that_is_no_extraction_refuses_torchrun_in_one_line():
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    ran = forked.run([*torchrun, "entrypoints.fit_head"])
    assert ran.returncode != 0
    message = (
        "error: fit_head must run in a single process, got 2 processes from torchrun; start it with python -m entry"
    )
    assert ran.stderr.count(message) == 1
