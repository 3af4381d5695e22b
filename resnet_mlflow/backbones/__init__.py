"""Networks that turn images into features: what there is, its weights, its form for inference."""
