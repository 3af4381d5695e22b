"""Run all benchmarks, or those named, and write the table: ``python -m benchmarks --help``."""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import report, verdict
from benchmarks.harness import DISTURBED, Row
from benchmarks.suite import BENCHMARKS, NOT_QUICK, codes, measure

RESULTS = Path(__file__).parent / "results.md"
QUICK_RESULTS = Path(__file__).parent / "quick.json"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed against plain peers, as ratios measured side by side. "
        "CIFAR10_FOLDER names a folder with train/<class>/*.jpg to use in place of images made here.",
    )
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="measure this one; may be repeated")
    parser.add_argument(
        "--quick", action="store_true", help="fewer images and turns, under 3 minutes, compared with the last time here"
    )
    parser.add_argument(
        "--stale", action="store_true", help="measure what this processor's table lacks or has of old code"
    )
    parser.add_argument("--output", type=Path, help=f"Markdown file to write, by default {RESULTS}")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    output = arguments.output or (None if arguments.quick else RESULTS)
    output = output.absolute() if output else None
    print("\n".join(report.machine()), flush=True)
    digests = codes()
    names = arguments.only or [name for name in BENCHMARKS if not (arguments.quick and name in NOT_QUICK)]
    if arguments.stale:
        old = report.stale(output or RESULTS, digests)
        names = [name for name in names if name in old]
    measured: dict[str, tuple[list[Row], str]] = {}
    disturbed: list[str] = []
    for name in names:
        start = time.perf_counter()
        # In a process of its own: threads and memory of one benchmark must not affect the next, and Linux includes a
        # large parent in the peak memory of its children.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            rows, others = process.submit(measure, name, arguments.quick).result()
        measured[name] = (rows, f"{report.stamp()}, {others:.0%} of the processor to others")
        if others > DISTURBED:
            disturbed.append(name)
        text = report.table(*measured[name]) if rows else ["nothing to measure on this machine"]
        print(f"\n{name}: {time.perf_counter() - start:.0f} s", *text, sep="\n", flush=True)
        if output:
            # After each benchmark, so that a failing one does not lose the results of the others.
            report.write(output, measured, digests)
    if arguments.quick and arguments.only is None:
        print(f"\nleft out of --quick, too slow: {', '.join(name for name in BENCHMARKS if name in NOT_QUICK)}")
    if output:
        report.write(output, measured, digests)
        print(f"\nwritten: {output}")
    if arguments.quick:
        rows = [row for name, (found, _) in measured.items() if name not in disturbed for row in found]
        if disturbed:
            print(f"\nnot compared, as others had the processor meanwhile: {', '.join(disturbed)}")
        print("", *verdict.compare(QUICK_RESULTS, report.title(), rows, report.stamp()), sep="\n")


if __name__ == "__main__":
    main()
