"""Decode damaged files one after the other, and say which one it is: started by ``fuzz``, and expected to die."""

import json
import mmap
import struct
import sys
from collections import Counter
from pathlib import Path

import psutil
from mutations import mutated

from resnet_mlflow.data.decoding import BadImageError, decode, read_size

# 16 million: what a lying header may cost here, so that 20 000 files take minutes.
MAX_PIXELS = 2**24
# Files after which memory is looked at first: libraries have been loaded and pools have grown.
WARM_UP = 500


def main(image_format: str, seed: int, first: int, end: int, note: Path) -> None:
    """Print what became of the files of these numbers; ``note`` holds the number of the file in work."""
    outcomes: Counter[str] = Counter()
    faults: list[tuple[int, str]] = []
    process, resident = psutil.Process(), []
    with note.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shown:
        for number in range(first, end):
            shown[:] = struct.pack("<q", number)
            data = mutated(image_format, seed, number)
            path = Path(f"{image_format} {seed} {number}")
            try:
                decode(path, data, MAX_PIXELS)
                outcomes["decoded"] += 1
            except BadImageError as error:
                outcomes["refused"] += 1
                if "\n" in str(error) or "DOS attack" in str(error):
                    faults.append((number, f"not one line of ours: {error}"))
            except BaseException as error:
                faults.append((number, repr(error)))
            try:
                read_size(path, data)
            except BadImageError:
                pass
            except BaseException as error:
                faults.append((number, f"size: {error!r}"))
            if (number - first) % WARM_UP == WARM_UP - 1:
                resident.append(process.memory_info().rss)
    print(json.dumps({"outcomes": outcomes, "faults": faults, "resident": resident}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5]))
