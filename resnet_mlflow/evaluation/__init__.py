"""How good a classifier is: scores with intervals, calibration, figures, Grad-CAM."""
