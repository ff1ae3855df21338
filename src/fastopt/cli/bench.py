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
    table.add_column("parameters")
    for size in sizes:
        table.add_column(f"{size:.0e}".replace("e+0", "e") if size >= 1000 else str(size), justify="right")
    for name in dict.fromkeys(row["contestant"] for row in rows):
        by_size = {row["size"]: row for row in rows if row["contestant"] == name}
        cells = [
            f"{by_size[size]['ns_per_parameter']:.3g} ({by_size[size]['ratio_to_floor']:.1f})"
            if size in by_size
            else "-"
            for size in sizes
        ]
        table.add_row(str(name), *cells, style="bold" if "fastopt" in str(name).lower() else None)
    return table
