"""How long a classifier on features is trained, where nobody says."""

LINEAR_EPOCHS, LINEAR_STEPS = 30, 600
CRT_EPOCHS, CRT_STEPS = 10, 200
LWS_EPOCHS, LWS_STEPS = 5, 100


def enough_epochs(n_epochs: int, n_steps: int, n_items: int, batch_size: int) -> int:
    """Return ``n_epochs``, or more where those are so short that they come to fewer than ``n_steps`` steps.

    A long tail of a few hundred items has one or two batches: 30 epochs of them would end before a loss that asks
    for offsets between classes has found them, and compare speeds of learning rather than remedies.

    Args:
        n_epochs: Passes over the items, at least.
        n_steps: Steps, at least.
        n_items: Items of an epoch.
        batch_size: Items per step.

    Example:
        >>> enough_epochs(30, 600, n_items=12406, batch_size=256), enough_epochs(30, 600, n_items=367, batch_size=256)
        (30, 300)
    """
    steps_per_epoch = -(-n_items // batch_size)
    return max(n_epochs, -(-n_steps // steps_per_epoch))
