"""What is printed: one console for all commands, the progress of a run, its scores."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from fastopt.cli.errors import need
from fastopt.cli.training import History, Score

__all__ = ["console", "Progress", "score_cells", "score_heads", "grid"]

PLAIN_LINES = 10  # epochs told when the output is a file


def console() -> Any:
    """A rich console on stdout: colour only on a terminal and without NO_COLOR, plain text elsewhere."""
    rich_console = need("rich.console", "the command line")
    return rich_console.Console(highlight=False, soft_wrap=True)


def grid(rows: list[tuple[str, str]]) -> Any:
    """Two columns without lines: what, and what it is."""
    table = need("rich.table", "the command line").Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    return table


def score_heads(classes: bool) -> list[str]:
    return ["loss", "accuracy"] if classes else ["loss", "RMSE", "R²"]


def score_cells(score: Score, classes: bool) -> list[str]:
    if classes:
        return [f"{score.loss:.4f}", f"{100 * score.accuracy:.2f} %"]
    return [f"{score.loss:.4f}", f"{score.rmse:.4g}", f"{score.r2:.4f}"]


class Progress:
    """A bar on a terminal, refreshed by the loop about ten times a second; else a line now and then."""

    def __init__(self, out: Any, epochs: int, steps: int, classes: bool, quiet: bool) -> None:
        self.epochs, self.steps, self.classes = epochs, steps, classes
        self.out = out
        self.live = out.is_terminal and not out.is_dumb_terminal and not quiet
        self.plain = not self.live and not quiet
        self.drawn = 0.0
        self.seen = (perf_counter(), 0)
        if self.live:
            progress = need("rich.progress", "the command line")
            self.bar = progress.Progress(
                progress.TextColumn("{task.fields[epoch]}"),
                progress.BarColumn(bar_width=None),
                progress.TextColumn("{task.fields[text]}"),
                progress.TimeRemainingColumn(compact=True),
                console=out,
                auto_refresh=False,
                transient=True,
                expand=True,
            )
            self.task = self.bar.add_task("train", total=epochs * steps, epoch=f"epoch 1/{epochs}", text="")

    def __enter__(self) -> Progress:
        if self.live:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.bar.stop()

    def show(self, epoch: int, step: int, loss: float, history: History) -> None:
        """In the middle of an epoch."""
        if self.live:
            self._draw(epoch, epoch * self.steps + step, loss, history)

    def done(self, epoch: int, history: History) -> None:
        """After an epoch."""
        last = epoch + 1 == self.epochs
        if self.plain and (last or (epoch + 1) % max(1, -(-self.epochs // PLAIN_LINES)) == 0 or epoch == 0):
            self.out.print(f"epoch {epoch + 1}/{self.epochs}  {self._text(history.losses[-1], history)}")
        elif self.live and (last or perf_counter() - self.drawn >= 0.1):
            self._draw(epoch, (epoch + 1) * self.steps, history.losses[-1], history)

    def _draw(self, epoch: int, completed: int, loss: float, history: History) -> None:
        self.drawn = perf_counter()
        self.bar.update(
            self.task,
            completed=completed,
            epoch=f"epoch {epoch + 1}/{self.epochs}",
            text=self._text(loss, history),
        )
        self.bar.refresh()

    def _text(self, loss: float, history: History) -> str:
        parts = [f"loss {loss:.4f}"]
        if history.validation:
            recent = history.validation[-1]
            if self.classes:
                parts.append(f"val. accuracy {100 * recent.accuracy:.2f} %")
            else:
                parts.append(f"val. RMSE {recent.rmse:.4g}  R² {recent.r2:.3f}")
        if history.seconds and history.seconds[-1] > 0.0:
            parts.append(f"{history.samples / history.seconds[-1]:,.0f} samples/s".replace(",", " "))
        return "  ".join(parts)
