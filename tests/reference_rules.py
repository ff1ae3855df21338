"""The update rules of the first-order family in plain float64 NumPy, each as its own source states it.

Nothing is merged or shared between conventions, so that agreement with the engine proves something. Sources,
by the short names used below:

book   Goodfellow, Bengio, Courville, *Deep Learning* (2016), chapter 8, algorithms 8.1 to 8.7
torch  the documented pseudocode of torch.optim
keras  `update_step` of keras.optimizers (Keras 3)
optax  the formulas in the docstrings of optax

A rule is a function ``rule(p, g, s, h, t)`` of one array: p parameter, g gradient (scaled, clipped, with its
decay), s the dict of states (empty before the first step; written here), h the fields at this step, t the
step's number from 1. It gives the new parameter.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray
States = dict[str, Any]


def is_zero(x: Any) -> bool:
    """True for the number 0, not for a function of the step."""
    return not callable(x) and x == 0


# ---- Descent and momentum ----


def sgd(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Book 8.1: theta <- theta - eps_k g."""
    return p - h.lr * g


def momentum_torch(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """torch SGD: b_1 = g_1, then b_t = mu b_{t-1} + (1 - tau) g_t; Nesterov uses g_t + mu b_t.

    optax (Sutskever et al. 2013) has the same without dampening: m = g + mu m.
    """
    s["b"] = g if t == 1 else h.momentum * s["b"] + (1 - h.dampening) * g
    return p - h.lr * (g + h.momentum * s["b"] if h.nesterov else s["b"])


def momentum_book(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Book 8.2: v <- alpha v - eps g; theta <- theta + v. Keras' Nesterov adds alpha v - eps g, v the new."""
    taken = 1.0 if t == 1 else 1 - h.dampening  # dampening is torch's, not the book's
    s["v"] = h.momentum * s.get("v", 0.0) - h.lr * taken * g
    if h.nesterov:
        return p + h.momentum * s["v"] - h.lr * g
    return p + s["v"]


# ---- Sums and averages of squares ----


def adagrad(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Duchi et al. 2011. Outside: book 8.4, eps/(delta + sqrt(r)) g, and torch; inside: keras and optax."""
    s["r"] = s.get("r", h.initial_accumulator_value) + np.square(g)
    lr = h.lr / (1 + (t - 1) * h.lr_decay)  # torch: gamma~
    if h.eps_inside:
        return p - lr * g / np.sqrt(s["r"] + h.eps)
    return p - lr / (h.eps + np.sqrt(s["r"])) * g


def rmsprop(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Hinton 2012, lecture 6e; book 8.5 (inside). Centred: Graves 2013, equations 38 to 41.

    The variance is cut at 0 where rounding took it below. With momentum, torch keeps b = mu b + g/d and takes
    lr b; keras and optax keep mu b + lr g/d, the book's velocity (8.6) with its sign turned.
    """
    s["r"] = h.alpha * s.get("r", 0.0) + (1 - h.alpha) * np.square(g)
    spread = s["r"]
    if h.centered:
        s["m"] = h.alpha * s.get("m", 0.0) + (1 - h.alpha) * g
        spread = np.maximum(s["r"] - np.square(s["m"]), 0.0)
    root = np.sqrt(h.eps + spread) if h.eps_inside else np.sqrt(spread) + h.eps
    if is_zero(h.momentum):
        return p - h.lr / root * g
    if h.lr_in_buffer:
        s["v"] = h.momentum * s.get("v", 0.0) - h.lr / root * g
        return p + s["v"]
    s["b"] = h.momentum * s.get("b", 0.0) + g / root
    return p - h.lr * s["b"]


def adadelta(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Zeiler 2012, algorithm 1: dx = -RMS[dx]_{t-1} / RMS[g]_t g_t, RMS[y] = sqrt(E[y^2] + eps)."""
    s["g2"] = h.rho * s.get("g2", 0.0) + (1 - h.rho) * g**2
    dx = -np.sqrt(s.get("dx2", 0.0) + h.eps) / np.sqrt(s["g2"] + h.eps) * g
    s["dx2"] = h.rho * s.get("dx2", 0.0) + (1 - h.rho) * dx**2
    return p + h.lr * dx


# ---- Adam and its relatives ----


def _moments(g: Array, s: States, h: SimpleNamespace) -> None:
    """Book 8.7 and Kingma and Ba 2015, algorithm 1: biased first and second moment."""
    b1, b2 = h.betas
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * np.square(g)


def adam_book(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Book 8.7, torch: m^/(sqrt(v^) + eps) with both moments corrected; optax's eps_root stands beside v^.

    AMSGrad as torch has it: the running maximum is of the uncorrected v and is corrected when used.
    """
    b1, b2 = h.betas
    _moments(g, s, h)
    second = s["v"]
    if h.amsgrad:
        second = s["w"] = np.maximum(s.get("w", 0.0), s["v"])
    m_hat = s["m"] / (1 - b1**t)
    v_hat = second / (1 - b2**t)
    return p - h.lr * m_hat / (np.sqrt(v_hat + h.eps_root) + h.eps)


def adam_keras(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """keras Adam; Kingma and Ba 2015, end of section 2 (eps-hat): alpha = lr sqrt(1 - b2^t)/(1 - b1^t)."""
    b1, b2 = h.betas
    alpha = h.lr * np.sqrt(1 - b2**t) / (1 - b1**t)
    s["m"] = s.get("m", 0.0) + (g - s.get("m", 0.0)) * (1 - b1)
    s["v"] = s.get("v", 0.0) + (np.square(g) - s.get("v", 0.0)) * (1 - b2)
    v = s["v"]
    if h.amsgrad:
        v = s["w"] = np.maximum(s.get("w", 0.0), v)
    return p - m_over(s["m"] * alpha, v + h.eps_root, h.eps)


def amsgrad_optax(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """optax amsgrad: the running maximum is of the corrected second moment; m^/(sqrt(w + eps_root) + eps)."""
    b1, b2 = h.betas
    _moments(g, s, h)
    s["w"] = np.maximum(s.get("w", 0.0), s["v"] / (1 - b2**t))
    return p - h.lr * m_over(s["m"] / (1 - b1**t), s["w"] + h.eps_root, h.eps)


def m_over(m: Array, v: Array, eps: float) -> Array:
    """m / (sqrt(v) + eps)."""
    return m / (np.sqrt(v) + eps)


def adamax(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Kingma and Ba 2015, algorithm 2. torch, optax: eps in the maximum; keras: added to the divisor."""
    b1, b2 = h.betas
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    if h.eps_inside:
        s["u"] = np.maximum(b2 * s.get("u", 0.0), np.abs(g) + h.eps)
        return p - h.lr / (1 - b1**t) * s["m"] / s["u"]
    s["u"] = np.maximum(b2 * s.get("u", 0.0), np.abs(g))
    return p - (h.lr * s["m"]) / ((1 - b1**t) * (s["u"] + h.eps))


def nadam(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Dozat 2016 as torch and keras write it: mu_t = b1 (1 - 0.96^(t psi)/2) and their products."""
    b1, b2 = h.betas
    mu = b1 * (1 - 0.5 * 0.96 ** (t * h.momentum_decay))
    mu_next = b1 * (1 - 0.5 * 0.96 ** ((t + 1) * h.momentum_decay))
    s["product"] = s.get("product", 1.0) * mu
    _moments(g, s, h)
    m_hat = mu_next * s["m"] / (1 - s["product"] * mu_next) + (1 - mu) * g / (1 - s["product"])
    return p - h.lr * m_over(m_hat, s["v"] / (1 - b2**t), h.eps)


def nadam_optax(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """optax nadam (psi infinite, mu = b1): m^ = b1 m/(1 - b1^(t+1)) + (1 - b1) g/(1 - b1^t)."""
    b1, b2 = h.betas
    _moments(g, s, h)
    m_hat = b1 * (s["m"] / (1 - b1 ** (t + 1))) + (1 - b1) * (g / (1 - b1**t))
    return p - h.lr * m_over(m_hat, s["v"] / (1 - b2**t), h.eps)


def radam(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Liu et al. 2020, algorithm 2, with torch's and optax's threshold 5 (paper: 4).

    torch (eps_hat): sqrt(1 - b2^t)/(sqrt(v) + eps); optax: 1/(sqrt(v^) + eps). Before that, plain m^.
    """
    b1, b2 = h.betas
    _moments(g, s, h)
    m_hat = s["m"] / (1 - b1**t)
    rho_inf = 2 / (1 - b2) - 1
    rho = rho_inf - 2 * t * b2**t / (1 - b2**t)
    if not rho > 5:
        return p - h.lr * m_hat
    rect = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    if h.eps_hat:
        return p - h.lr * m_hat * rect * (math.sqrt(1 - b2**t) / (np.sqrt(s["v"]) + h.eps))
    return p - h.lr * rect * m_over(m_hat, s["v"] / (1 - b2**t), h.eps)


# ---- Signs ----


def rprop(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """torch Rprop (Riedmiller and Braun 1993, the one without backtracking), element by element."""
    minus, plus = h.etas
    low, high = h.step_sizes
    step = np.array(np.broadcast_to(s.get("step", h.lr), g.shape), np.float64)
    before = np.broadcast_to(s.get("prev", 0.0), g.shape)
    kept, new = np.array(g), np.array(p)
    for i in np.ndindex(g.shape):
        turned = np.sign(g[i]) * np.sign(before[i])
        if turned > 0:
            step[i] = min(max(step[i] * plus, low), high)
        elif turned < 0:
            step[i] = min(max(step[i] * minus, low), high)
            kept[i] = 0.0
        else:
            step[i] = min(max(step[i], low), high)
        new[i] = p[i] - np.sign(kept[i]) * step[i]
    s["step"], s["prev"] = step, kept
    return new


def lion(p: Array, g: Array, s: States, h: SimpleNamespace, t: int) -> Array:
    """Chen et al. 2023, algorithm 2: c = b1 m + (1 - b1) g; theta -= lr sign(c); m = b2 m + (1 - b2) g."""
    b1, b2 = h.betas
    c = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["m"] = b2 * s.get("m", 0.0) + (1 - b2) * g
    return p - h.lr * np.sign(c)
