"""A training run that is killed (SIGKILL) at random moments, goes on from its checkpoint, and must end with the same bytes.

``python tests/kill_checkpoint.py 200`` spreads 200 kills over every optimizer; a few minutes. The suite does ten.
"""

from __future__ import annotations

import inspect
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from rows import ROWS, make

NAME = "run.safetensors"
EPOCHS = 6
ROWS_OF_DATA, SIZE = 200, 16


def augment(batch: Any, rng: np.random.Generator) -> Any:
    """Noise on the inputs, from the generator of this batch."""
    batch[0][...] += rng.normal(0, 0.1, batch[0].shape).astype(np.float32)
    return batch


class Run:
    """Everything of a run: dropout, clipping, average, a schedule with a state, a generator, early stopping's memory."""

    def __init__(self, rule: str) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(ROWS_OF_DATA, 8)).astype(np.float32)
        y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
        known = inspect.signature(fo.Batches).parameters
        more = {k: v for k, v in {"prefetch": True, "augment": augment}.items() if k in known}
        self.batches = fo.Batches(x, y, size=SIZE, rng=3, **more)  # type: ignore[arg-type]
        self.model = fo.nn.mlp(8, (16,), 2, dropout=0.2, rng=1)
        self.noise = np.random.default_rng(5)
        self.history: dict[str, Any] = {"loss": [], "best": None}
        self.plateau = fo.schedules.Plateau(0.01, patience=0)
        own: dict[str, Any] = {"average": fo.averaging.EMA(0.9), "clip_norm": 1.0}
        if rule == "stochastic_lbfgs":
            self.opt: Any = fo.StochasticLBFGS(self.model.params, lr=self.plateau)
        else:
            row = next(row for row in ROWS if row.rule == rule)
            self.opt = make(
                row, self.model.params, **own, **({} if rule == "rprop" else {"lr": self.plateau})
            )

    def parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "opt": self.opt,
            "batches": self.batches,
            "noise": self.noise,
            "history": self.history,
            **({"plateau": self.plateau} if isinstance(self.opt, fo.StochasticLBFGS) else {}),
        }

    def step(self, xb: np.ndarray, yb: np.ndarray) -> None:
        xb = xb + self.noise.normal(0, 0.01, xb.shape).astype(np.float32)
        if isinstance(self.opt, fo.StochasticLBFGS):
            state = self.model.state_dict()["dropout"]

            def loss_and_grads(params: Any, batch: Any) -> Any:
                self.model.load_state_dict(
                    {"params": self.model.params, "dropout": state}
                )  # the same dropout each time
                return self.model.loss_and_grads(*batch)

            loss = self.opt.step(loss_and_grads, (xb, yb)).loss
        else:
            loss, grads = self.model.loss_and_grads(xb, yb)
            self.opt.step(grads)
        self.history["loss"].append(loss)

    def end_of_epoch(self) -> None:
        mean = float(np.mean(self.history["loss"][-13:]))
        self.plateau.update(mean)
        if self.history["best"] is None or mean < self.history["best"]:
            self.history["best"] = mean


def child(folder: str, rule: str, saves: bool) -> None:
    """Go on from the checkpoint, if there is one; save after every step; leave the final state under another name."""
    path = os.path.join(folder, NAME)
    run = Run(rule)
    if os.path.exists(path):
        fo.load(path, **run.parts())
    print("ready", flush=True)
    step = 0
    ended = run.history.setdefault("ended", 0)
    for epoch in range(run.batches.epoch, EPOCHS):
        while ended < epoch:  # killed after the last batch of an epoch, before its end was noted
            run.end_of_epoch()
            ended = run.history["ended"] = ended + 1
        for xb, yb in run.batches:
            run.step(xb, yb)
            step += 1
            if saves:
                fo.save(path, keep=1 + step % 3, background=bool(step % 2), **run.parts())  # type: ignore[call-overload]
    run.end_of_epoch()
    fo.save(os.path.join(folder, "end"), **run.parts())


def start(folder: str, rule: str, saves: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "child", folder, rule, "saves" if saves else ""]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kills(rule: str, wanted: int, seed: int) -> dict[str, int]:
    """Kill a run `wanted` times, then let it end; AssertionError if a checkpoint is torn or the end differs."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as quiet, tempfile.TemporaryDirectory() as folder:
        never = start(quiet, rule, saves=False)
        never.communicate()
        assert never.returncode == 0
        done = within = 0
        path = os.path.join(folder, NAME)
        while done < wanted:
            run = start(folder, rule)
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(rng.expovariate(1 / 0.03))
            run.send_signal(signal.SIGKILL)
            run.communicate()
            if run.returncode == 0:  # it was through before
                break
            done += 1
            within += any(name.endswith(".tmp") for name in os.listdir(folder))
            if os.path.exists(path):
                fo.load(path)
        last = start(folder, rule)
        last.communicate()
        assert last.returncode == 0
        assert Path(folder, "end").read_bytes() == Path(quiet, "end").read_bytes(), (
            f"{rule}: another end after {done} kills"
        )
        assert sum(name.endswith(".tmp") for name in os.listdir(folder)) == 0
    return {"kills": done, "within a save": within}


RULES = [*(row.rule for row in ROWS), "stochastic_lbfgs"]


def main(wanted: int) -> None:
    begin, total, seed = time.perf_counter(), {"kills": 0, "within a save": 0}, 0
    while total["kills"] < wanted:
        rule = RULES[seed % len(RULES)]
        for name, n in kills(rule, min(12, wanted - total["kills"]), seed).items():
            total[name] += n
        seed += 1
        print(json.dumps({"rule": rule, **total, "seconds": round(time.perf_counter() - begin)}), flush=True)
    print(
        f"{seed} runs of {min(seed, len(RULES))} optimizers, every one with the bytes of the run that was never killed"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[4] == "saves")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
