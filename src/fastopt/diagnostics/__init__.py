"""What holds a run back (Deep Learning, 8.2): numbers, a verdict in words, a picture."""
