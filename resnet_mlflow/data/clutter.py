"""Names of files that systems, archives and network storage leave among users' files."""

import re

# Compared without case: the spelling of some has varied over the years.
_CLUTTER = re.compile(
    r"""
    \..*                                                           # hidden: .DS_Store, ._x.jpg, .thumbnails, .@__thumb
    | __macosx | __pycache__ | icon\r
    | (?:eh)?thumbs(?:_vista)?(?:\.db)(?::.*)? | desktop\.ini | \$recycle\.bin | system\ volume\ information
    | found\.\d{3} | lost\+found                                   # what a check of the disk found
    | [@\#](?:recycler?|snapshots?|tmp|recently-snapshot|sharesnap|sharebin|transcode|__thumbs?)  # QNAP, Synology
    | @(?:eadir|__qini|appstore|database|download|quarantine|synologydrive|deleted).*
    | ~snapshot                                                    # NetApp
    | syno(?:photo|file|video|index)_.*                            # thumbnails that were copied out of @eaDir
    | network\ trash\ folder | temporary\ items | thevolumesettingsfolder
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_clutter(name: str) -> bool:
    r"""Return whether a file or folder with this name is hidden or was created by a system for its own use.

    Example:
        >>> [name for name in ("crow", "@eaDir", "lost+found", "Thumbs.db", "#recycle", "thumbs") if is_clutter(name)]
        ['@eaDir', 'lost+found', 'Thumbs.db', '#recycle']
    """
    return _CLUTTER.fullmatch(name) is not None
