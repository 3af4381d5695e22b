"""Networks that turn images into features: the available ones, their weights, and their form for inference."""
