"""What is printed: one console for all commands, the progress of a run, its scores."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from fastopt.cli.errors import need
from fastopt.cli.training import REFRESH, History, Score

__all__ = ["console", "Progress", "print_pairs", "score_cells", "score_table"]

PLAIN_LINES = 10  # epochs told when the output is a file
PLAIN_SECONDS = 10.0  # and a line at least this often


def console() -> Any:
    """A rich console on stdout: colour only on a terminal and without NO_COLOR, plain text elsewhere."""
    rich_console = need("rich.console", "the command line")
    return rich_console.Console(highlight=False, soft_wrap=True)


def print_pairs(out: Any, rows: Sequence[tuple[str, str]]) -> None:
    """Two columns: what, and what it is; folded to the terminal's width, one line each elsewhere."""
    if not out.is_terminal:
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            out.print(f"{name:{width}}  {text}", markup=False)
        return
    table = need("rich.table", "the command line").Table.grid(padding=(0, 2))
    text_of = need("rich.text", "the command line").Text
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text_of(text))
    out.print(table)


def score_table(rows: Sequence[tuple[str, int, Score]], classes: bool) -> Any:
    """The scores of the parts; the last row, the test, stands out."""
    rich_table = need("rich.table", "the command line")
    table = rich_table.Table(box=need("rich.box", "the command line").SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for head in ["rows", "loss", *(["accuracy"] if classes else ["RMSE", "R²"])]:
        table.add_column(head, justify="right")
    for part, count, score in rows:
        style = "bold" if part == rows[-1][0] else None
        table.add_row(part, str(count), *score_cells(score, classes), style=style)
    return table


def score_cells(score: Score, classes: bool) -> list[str]:
    if classes:
        return [short(score.loss), f"{100 * score.accuracy:.2f} %"]
    return [short(score.loss), f"{score.rmse:.4g}", f"{score.r2:.4f}"]


def short(loss: float) -> str:
    """Four decimals, or powers of ten for what these do not show."""
    return f"{loss:.4f}" if 1e-3 <= abs(loss) < 1e5 or loss == 0.0 else f"{loss:.1e}"


class Progress:
    """A bar on a terminal, refreshed by the loop about ten times a second; else a line now and then."""

    def __init__(self, out: Any, epochs: int, steps: int, classes: bool, quiet: bool) -> None:
        self.epochs, self.steps, self.classes = epochs, steps, classes
        self.out = out
        self.live = out.is_terminal and not out.is_dumb_terminal and not quiet
        self.plain = not self.live and not quiet
        self.drawn = 0.0
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
        now = perf_counter()
        due = (
            epoch == 0
            or (epoch + 1) % -(-self.epochs // PLAIN_LINES) == 0
            or now - self.drawn >= PLAIN_SECONDS
        )
        if self.plain and (last or due):
            self.drawn = now
            self.out.print(f"epoch {epoch + 1}/{self.epochs}  {self._text(history.losses[-1], history)}")
        elif self.live and (last or now - self.drawn >= REFRESH):
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
        parts = [f"loss {short(loss)}"]
        if history.validation:
            recent = history.validation[-1]
            if self.classes:
                parts.append(f"val. acc. {100 * recent.accuracy:.2f} %")
            else:
                parts.append(f"val. RMSE {recent.rmse:.4g}")
                if self.plain or self.out.width >= 100:
                    parts.append(f"R² {recent.r2:.3f}")
        if history.seconds and history.seconds[-1] > 0.0:
            rate = history.samples / history.seconds[-1]
            parts.append(f"{rate / 1000:.0f}k samples/s" if rate >= 10000 else f"{rate:.0f} samples/s")
        return "  ".join(parts)
