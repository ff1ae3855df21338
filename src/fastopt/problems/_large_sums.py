"""Large problems, 2: what is no plain sum of squares. Values and gradients cost O(n).

Formulas: the SIF files of the CUTEst collection (Gould, Orban, Toint, Comput. Optim. Appl. 60, 2015); Luksan,
Matonoha, Vlcek, "Modified CUTE problems for sparse unconstrained optimization", Report 1081, Academy of
Sciences of the Czech Republic, 2010; Andrei, "An unconstrained optimization test functions collection", Adv.
Model. Optim. 10(1), 2008. Indices count from 1, as there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastopt.problems._base import Array, Sizes, Spec, index, problem, shift

SPECS: list[Spec] = []
_listed = partial(problem, SPECS, group="large")


@_listed("BROYDN7D", "CUTEst BROYDN7D", sizes=Sizes(4, 2), n=10, x0=-1.0, minima={10: 3.828139097312342},
         note="local minima by the hundred for larger n")  # fmt: skip
def broydn7d(x: Array) -> tuple[Any, Any]:
    """f = sum |1 - x_{i-1} - 2 x_{i+1} + (3 - x_i / 2) x_i|^(7/3) + sum_{i<=n/2} |x_i + x_{i+n/2}|^(7/3)."""
    half = x.size // 2
    r = 1 - shift(x, -1) - 2 * shift(x, 1) + (3 - x / 2) * x
    q = x[:half] + x[half:]

    def power(v: Array, p: float) -> Array:
        """|v|^p sign(v)^(1 or 2), in a form that holds for complex v."""
        sign = np.where(v.real < 0, -1, 1).astype(x.real.dtype)
        return (v * sign) ** p * (sign if p < 2 else 1)

    def gradient() -> Array:
        dr, dq = power(r, 4 / 3) * (7 / 3), power(q, 4 / 3) * (7 / 3)
        return (3 - x) * dr - shift(dr, 1) - 2 * shift(dr, -1) + np.concatenate((dq, dq))

    return power(r, 7 / 3).sum() + power(q, 7 / 3).sum(), gradient


@_listed("COSINE", "CUTEst COSINE", sizes=Sizes(2), n=1000, x0=1.0, minima=lambda n: 1.0 - n,
         note="every method needs its line search here: steps past the first minimum land anywhere")  # fmt: skip
def cosine(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<n} cos(x_i^2 - x_{i+1} / 2)."""
    y = x[:-1]
    s = y * y - x[1:] / 2

    def gradient() -> Array:
        g, sine = np.zeros_like(x), np.sin(s)
        g[:-1] = -2 * y * sine
        g[1:] += sine / 2
        return g

    return np.cos(s).sum(), gradient


@_listed("CRAGGLVY", "CUTEst CRAGGLVY", sizes=Sizes(4, 2), n=1000,
         minima={50: 15.372509465428697, 100: 32.26991145858178, 1000: 336.4231478729211, 10000: 3377.9555120163145},
         x0=lambda n: np.append(1.0, np.full(n - 1, 2.0)))  # fmt: skip
def cragglvy(x: Array) -> tuple[Any, Any]:
    """f = sum over (a, b, c, d) of (e^a - b)^4 + 100 (b - c)^6 + (tan(c - d) + c - d)^4 + a^8 + (d - 1)^2.

    The fours are x_{2i-1}, ..., x_{2i+2} for i < n/2: each shares two variables with the next.
    """
    a, b, c, d = x[:-2:2], x[1:-2:2], x[2::2], x[3::2]
    ea, t = np.exp(a), np.tan(c - d)
    p, q, w, last = ea - b, b - c, t + c - d, d - 1

    def gradient() -> Array:
        g = np.zeros_like(x)
        p3, q5, w3 = 4 * p**3, 600 * q**5, 4 * w**3 * (t * t + 2)
        g[:-2:2] = p3 * ea + 8 * a**7
        g[1:-2:2] = q5 - p3
        g[2::2] += w3 - q5
        g[3::2] += 2 * last - w3
        return g

    return (p**4 + 100 * q**6 + w**4 + a**8 + last * last).sum(), gradient


@_listed("CURLY10", "CUTEst CURLY10", sizes=Sizes(11), n=100, x0=lambda n: 1e-4 * np.arange(1, n + 1) / (n + 1),
         minima={50: -5015.814512066553, 100: -10031.629024133104, 1000: -100316.29024133105,
                 10000: -1003162.9024133106},
         note="narrow curved valleys, negative curvature at x0; the value is the one found from x0")  # fmt: skip
def curly10(x: Array) -> tuple[Any, Any]:
    """f = sum q_i (q_i (q_i^2 - 20) - 1/10), q_i = x_i + ... + x_{min(i + 10, n)}."""
    q = sum((shift(x, k) for k in range(1, 11)), start=x)

    def gradient() -> Array:
        d = (4 * q * q - 40) * q - 0.1
        return sum((shift(d, -k) for k in range(1, 11)), start=d)

    return (q * (q * (q * q - 20) - 0.1)).sum(), gradient


def _dixmaan(x: Array, weights: tuple[float, ...], powers: tuple[int, ...]) -> tuple[Any, Any]:
    """f = 1 + sum_{i<=n} a s^k1 x_i^2 + sum_{i<n} b s^k2 x_i^2 (x_{i+1} + x_{i+1}^2)^2
    + sum_{i<=2m} c s^k3 x_i^2 x_{i+m}^4 + sum_{i<=m} d s^k4 x_i x_{i+2m}, s = i / n, m = n / 3.
    """
    n, m = x.size, x.size // 3
    s = index(x, n) / n
    a, b, c, d = (w * s**k for w, k in zip(weights, powers, strict=True))
    b, c, d = b[:-1], c[: 2 * m], d[:m]
    y = x * x
    u = x[1:] * (1 + x[1:])
    v = y[m:] ** 2
    near, far, cross = b * y[:-1] * u * u, c * y[: 2 * m] * v, d * x[2 * m :]

    def gradient() -> Array:
        g = 2 * a * x
        g[:-1] += 2 * b * x[:-1] * u * u
        g[1:] += 2 * b * y[:-1] * u * (1 + 2 * x[1:])
        g[: 2 * m] += 2 * c * x[: 2 * m] * v
        g[m:] += 4 * c * y[: 2 * m] * y[m:] * x[m:]
        g[:m] += cross
        g[2 * m :] += d * x[:m]
        return g

    return 1 + a @ y + near.sum() + far.sum() + cross @ x[:m], gradient


# Dixon, Maany, "A family of test problems with sparse Hessians", Hatfield Polytechnic, 1988.
for _letter, _weights, _powers in (
    ("A", (1, 0, 0.125, 0.125), (0, 0, 0, 0)),
    ("B", (1, 0.0625, 0.0625, 0.0625), (0, 0, 0, 1)),
    ("D", (1, 0.26, 0.26, 0.26), (0, 0, 0, 0)),
    ("E", (1, 0, 0.125, 0.125), (1, 0, 0, 1)),
    ("I", (1, 0, 0.125, 0.125), (2, 0, 0, 2)),
    ("L", (1, 0.26, 0.26, 0.26), (2, 0, 0, 2)),
):
    _listed(f"DIXMAAN{_letter}", f"CUTEst DIXMAAN{_letter}", sizes=Sizes(3, 3), n=300, x0=2.0, minima=1.0,
            minimizer=0.0)(partial(_dixmaan, weights=_weights, powers=_powers))  # fmt: skip


@_listed(
    "EDENSCH",
    "CUTEst EDENSCH",
    sizes=Sizes(2),
    n=1000,
    x0=8.0,
    minima={
        36: 219.28459202076465,
        50: 303.28459202076465,
        100: 603.28459202076465,
        1000: 6003.284592020765,
        2000: 12003.284592020766,
        10000: 60003.2845920208,
    },
)
def edensch(x: Array) -> tuple[Any, Any]:
    """f = 16 + sum_{i<n} (x_i - 2)^4 + (x_i x_{i+1} - 2 x_{i+1})^2 + (x_{i+1} + 1)^2."""
    p, y = x[:-1] - 2, x[1:]
    p2, q, r = p * p, p * y, y + 1

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = 4 * p * p2 + 2 * q * y
        g[1:] += 2 * q * p + 2 * r
        return g

    return 16 + p2 @ p2 + q @ q + r @ r, gradient


@_listed(
    "FLETCBV2",
    "CUTEst FLETCBV2",
    sizes=Sizes(2),
    n=100,
    x0=lambda n: np.arange(1, n + 1) / (n + 1),
    minima={50: -0.5274010296749150, 100: -0.5140067861117383, 1000: -0.5014290312675613},
)
def fletcbv2(x: Array) -> tuple[Any, Any]:
    """f = (x_1^2 + sum_{i<n} (x_i - x_{i+1})^2 + x_n^2) / 2 - h^2 sum (2 x_i + cos x_i) - x_n, h = 1 / (n + 1)."""
    d, h2 = x[:-1] - x[1:], 1 / (x.size + 1) ** 2

    def gradient() -> Array:
        g = h2 * (np.sin(x) - 2)
        g[:-1] += d
        g[1:] -= d
        g[0] += x[0]
        g[-1] += x[-1] - 1
        return g

    return (x[0] * x[0] + d @ d + x[-1] * x[-1]) / 2 - h2 * (2 * x + np.cos(x)).sum() - x[-1], gradient


@_listed("HAGER", "Andrei: Hager", sizes=Sizes(1), n=1000, x0=1.0,
         minima=lambda n: float(np.sum(np.sqrt(np.arange(1, n + 1)) * (1 - np.log(np.arange(1, n + 1)) / 2))),
         minimizer=lambda n: np.log(np.arange(1, n + 1)) / 2)  # fmt: skip
def hager(x: Array) -> tuple[Any, Any]:
    """f = sum exp(x_i) - sqrt(i) x_i."""
    e, w = np.exp(x), np.sqrt(index(x, x.size))
    return (e - w * x).sum(), lambda: e - w


@_listed(
    "RAYDAN1",
    "Andrei: Raydan 1",
    sizes=Sizes(1),
    n=1000,
    x0=1.0,
    minima=lambda n: n * (n + 1) / 20,
    minimizer=0.0,
)
def raydan1(x: Array) -> tuple[Any, Any]:
    """f = sum (exp(x_i) - x_i) i / 10."""
    e, w = np.exp(x), index(x, x.size) / 10
    return w @ (e - x), lambda: w * (e - 1)


@_listed("SCHMVETT", "CUTEst SCHMVETT", sizes=Sizes(3), n=1000, x0=0.5, minima=lambda n: -3.0 * (n - 2),
         minimizer=np.pi / (np.pi + 1))  # fmt: skip
def schmvett(x: Array) -> tuple[Any, Any]:
    """f = -sum_{i<=n-2} 1 / (1 + (a - b)^2) + sin((pi b + c) / 2) + exp(-((a + c) / b - 2)^2).

    a, b, c = x_i, x_{i+1}, x_{i+2}.
    """
    a, b, c = x[:-2], x[1:-1], x[2:]
    d, angle, q = a - b, (np.pi * b + c) / 2, (a + c) / b - 2
    k, e = 1 / (1 + d * d), np.exp(-q * q)

    def gradient() -> Array:
        g = np.zeros_like(x)
        u, v, w = 2 * d * k * k, np.cos(angle) / 2, 2 * q * e / b
        g[:-2] = u + w
        g[1:-1] -= u + np.pi * v + w * (a + c) / b
        g[2:] += w - v
        return g

    return -(k + np.sin(angle) + e).sum(), gradient


@_listed("SINQUAD", "CUTEst SINQUAD", sizes=Sizes(3), n=100, x0=0.1, minima=0.0, minimizer=1.0,
         note="the Hessian is singular at the minimizer")  # fmt: skip
def sinquad(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^4 + sum_{1<i<n} (sin(x_i - x_n) - x_1^2 + x_i^2)^2 + (x_n^2 - x_1^2)^2."""
    first, y = x[0] - 1, x * x
    p, last = np.sin(x[1:-1] - x[-1]) - y[0] + y[1:-1], y[-1] - y[0]

    def gradient() -> Array:
        g = np.zeros_like(x)
        c = np.cos(x[1:-1] - x[-1])
        g[1:-1] = 2 * p * (c + 2 * x[1:-1])
        g[0] = 4 * first**3 - 4 * x[0] * (p.sum() + last)
        g[-1] = 4 * x[-1] * last - 2 * (p @ c)
        return g

    return first**4 + p @ p + last * last, gradient


@_listed("SPARSQUR", "CUTEst SPARSQUR", sizes=Sizes(10), n=1000, x0=0.5, minima=0.0, minimizer=0.0,
         note="the Hessian is zero at the minimizer")  # fmt: skip
def sparsqur(x: Array) -> tuple[Any, Any]:
    """f = sum i q_i^2 / 8, q_i = sum of x_j^2 over j = i and j = ((k i - 1) mod n) + 1, k = 2, 3, 5, 7, 11."""
    n = x.size
    i = np.arange(1, n + 1)
    places = [i - 1, *((k * i - 1) % n for k in (2, 3, 5, 7, 11))]
    y = x * x
    q = sum((y[j] for j in places[1:]), start=y)
    wq = index(x, n) * q

    def gradient() -> Array:
        total = np.zeros_like(x)
        for j in places:
            np.add.at(total, j, wq)
        return total * x / 2

    return wq @ q / 8, gradient


@_listed("TOINTGSS", "CUTEst TOINTGSS", sizes=Sizes(3), n=1000, x0=3.0,
         minima=lambda n: (10.0, 10 + 10 / (n - 2)), minimizer=0.0,
         note="from x0 most methods end at the greater value: a plateau, |x_1 - x_2| large")  # fmt: skip
def tointgss(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<=n-2} (10 / (n - 2) + c^2) (2 - exp(-(a - b)^2 / (1/10 + c^2))), a, b, c = x_i, x_{i+1}, x_{i+2}."""
    d, c = x[:-2] - x[1:-1], x[2:]
    c2 = c * c
    s, w = 0.1 + c2, 10 / (x.size - 2) + c2
    q = d / s
    e = np.exp(-d * q)

    def gradient() -> Array:
        g = np.zeros_like(x)
        u = 2 * w * e * q
        g[:-2] = u
        g[1:-1] -= u
        g[2:] += 2 * c * (2 - e - w * e * q * q)
        return g

    return (w * (2 - e)).sum(), gradient
