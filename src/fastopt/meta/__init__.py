"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula."""

from fastopt.meta import pacing
from fastopt.meta.curriculum import Curriculum, Mixture, combined, losses_of
from fastopt.meta.self_paced import SelfPaced

__all__ = ["Curriculum", "Mixture", "SelfPaced", "combined", "losses_of", "pacing"]
