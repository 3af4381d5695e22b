"""Default length of training for a classifier on features."""

LINEAR_EPOCHS, LINEAR_STEPS = 30, 600
CRT_EPOCHS, CRT_STEPS = 10, 200
LWS_EPOCHS, LWS_STEPS = 5, 100


def enough_epochs(n_epochs: int, n_steps: int, n_items: int, batch_size: int) -> int:
    """Return ``n_epochs``, or more if that would be fewer than ``n_steps`` steps.

    A long tail of a few hundred items has one or two batches: 30 such epochs would end before a loss with offsets
    between classes has learned them, and the comparison would be of learning speed rather than of methods.

    Args:
        n_epochs: Minimum number of passes over the items.
        n_steps: Minimum number of steps.
        n_items: Items per epoch.
        batch_size: Items per step.

    Example:
        >>> enough_epochs(30, 600, n_items=12406, batch_size=256), enough_epochs(30, 600, n_items=367, batch_size=256)
        (30, 300)
    """
    steps_per_epoch = -(-n_items // batch_size)
    return max(n_epochs, -(-n_steps // steps_per_epoch))
