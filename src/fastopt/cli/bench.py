"""``fastopt bench``: what an update costs on this machine, beside others and beside the memory bus.

The measuring is `fastopt.cli.contest`; here it is only printed and drawn.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastopt.cli import pictures, report
from fastopt.cli.errors import need
from fastopt.cli.files import check_place, is_our_png, write_whole

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Adam in float32 at several sizes. The floor is a C loop that reads and writes the same arrays and\n"
        "computes nothing to speak of. Peers (torch, optax) take part when they are installed."
    )
    parser.add_argument("--quick", action="store_true", help="fewer sizes and rounds")
    parser.add_argument("--out", type=Path, metavar="PNG", help="also draw a picture")


def run(args: argparse.Namespace) -> int:
    out = report.console()
    if args.out is not None:
        need("matplotlib", "drawing the picture")
        check_place(args.out, is_our_png, "picture")
    from fastopt.cli import contest

    if out.is_terminal and not out.is_dumb_terminal:
        with out.status("measuring"):
            rows = contest.update_table(args.quick)
    else:
        rows = contest.update_table(args.quick)
    out.print("Adam, float32: ns per parameter and step (times the floor); less is better")
    out.print(as_table(rows))
    if args.out is not None:
        title = "Adam, float32, on this machine"
        write_whole(args.out, pictures.updates(rows, title))
        out.print(f"picture  {args.out}")
    return 0


def as_table(rows: list[dict[str, Any]]) -> Any:
    """A row a contestant, a column a size."""
    rich_table = need("rich.table", "the command line")
    table = rich_table.Table(box=need("rich.box", "the command line").SIMPLE_HEAD, pad_edge=False)
    sizes = sorted({row["size"] for row in rows})
    table.add_column("parameters", no_wrap=True)
    for size in sizes:
        table.add_column(f"{size:.0e}".replace("e+0", "e") if size >= 1000 else str(size), justify="right")
    cells = {(row["contestant"], row["size"]): row for row in rows}
    for name in dict.fromkeys(str(row["contestant"]) for row in rows):
        texts = [as_cell(cells.get((name, size))) for size in sizes]
        table.add_row(name, *texts, style="bold" if name.startswith("fastopt") else None)
    return table


def as_cell(row: dict[str, Any] | None) -> str:
    """``0.55 (1.1)``: the time and, in brackets, how many times the floor it is."""
    return "-" if row is None else f"{three(row['ns_per_parameter'])} ({three(row['ratio_to_floor'])})"


def three(value: float) -> str:
    """Two or three digits, never a power of ten."""
    return f"{value:.2f}" if value < 1.0 else f"{value:.1f}" if value < 100.0 else f"{value:.0f}"
