"""MkDocs' hook: lays out pages, and the files they link to, as they lie in the checkout."""

import atexit
import shutil
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

PROJECT = Path(__file__).parents[2]
PATTERNS = ("*.md", "LICENSE", "docs/**/*", "studies/*.yaml", "benchmarks/*.md", "benchmarks/*.csv")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Point MkDocs to a copy of the pages: it takes none from the folder that holds its own configuration."""
    pages = Path(tempfile.mkdtemp(prefix="resnet-mlflow-pages-"))
    atexit.register(shutil.rmtree, pages, ignore_errors=True)
    for path in (path for pattern in PATTERNS for path in PROJECT.glob(pattern)):
        copy = pages / path.relative_to(PROJECT)
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    config.docs_dir = str(pages)
    return config
