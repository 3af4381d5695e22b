"""When a classifier should not answer: prediction sets, answers at a chosen error rate, costs, unknown images."""
