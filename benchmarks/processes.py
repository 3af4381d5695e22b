"""Entry points in new processes: peak memory of extraction, and a second fit from start to exit."""

import statistics
from pathlib import Path

from benchmarks.harness import Row, limit_row
from benchmarks.images import make_many
from benchmarks.workspace import Finished, run_entry_point


def memory(folder: Path, quick: bool) -> list[Row]:
    """Return the peak memory of extracting 50 000 images relative to that for 5 000."""
    few, many = (1_000, 10_000) if quick else (5_000, 50_000)
    peaks = {
        n_images: [extract_in_process(folder, n_images, turn) for turn in range(1 if quick else 5)]
        for n_images in (few, many)
    }
    ratios = [large.peak_rss_mib / small.peak_rss_mib for small, large in zip(peaks[few], peaks[many], strict=True)]
    return [
        limit_row(
            f"peak memory of `extract`, resnet18, {many} files over {few}, 32 px",
            1.15,
            ratios,
            unit="x",
            ours=f"{_describe(peaks[many])} for {many}",
            peer=f"{_describe(peaks[few])} for {few}",
        )
    ]


def second_fit(folder: Path, quick: bool) -> list[Row]:
    """Return seconds of `fit_head` with stored features, from the start of the process to its exit."""
    run_entry_point("fit_head", "--weights", "random")
    done = [run_entry_point("fit_head", "--weights", "random") for _ in range(3 if quick else 5)]
    return [
        limit_row(
            "second `fit_head` (svm, resnet18, digits) from the start of the process to its exit",
            8.0,
            [finished.taken_s for finished in done],
            unit="s",
            ours=f"{_describe(done)} at its peak",
        )
    ]


def extract_in_process(folder: Path, n_images: int, turn: int) -> Finished:
    """Return the time and memory of the entry point for so many images of 32 px, none of them extracted before."""
    images = folder / f"many-{n_images}"
    if not images.exists():
        make_many(images, n_images)
    # Each turn has its own cache, otherwise it would find the features of the previous turn.
    return run_entry_point(
        *("extract", "--dataset", f"folder:{images}", "--image_size", "32", "--weights", "random"),
        *("--cache_dir", str(folder / f"cache-{n_images}-{turn}"), "--share_features", "false"),
    )


def _describe(done: list[Finished]) -> str:
    return f"{statistics.median(finished.peak_rss_mib for finished in done):.0f} MiB"
