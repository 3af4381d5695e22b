"""Training of networks: one loop, its optimisation and checkpoints, and fine-tuning built on them."""
