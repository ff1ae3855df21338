"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula."""
