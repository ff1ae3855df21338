"""The program ``fastopt``: finds the command, runs it, and turns a mistake into one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from fastopt.cli.arguments import Parser
from fastopt.cli.errors import Mistake

__all__ = ["main"]

COMMANDS = {
    "train": "train a network on a table; with no file, on the digits inside the package",
    "predict": "what a trained model says about the rows of a file",
    "compare": "every optimizer of the library on the same data: table and picture",
    "bench": "the cost of an update on this machine, beside NumPy, installed peers and the memory bus",
    "info": "version, instruction set, threads, BLAS",
}


def parser_for(command: str | None) -> Parser:
    """The parser; only the command that is run has its module loaded."""
    from fastopt import __version__

    parser = Parser(
        prog="fastopt",
        description="Optimization for training models on a CPU.",
        epilog="fastopt COMMAND --help tells the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"fastopt {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", dest="command", required=True)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == command:
            module = importlib.import_module(f"fastopt.cli.{name}")
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code: 0 done, 2 a mistake (said in one line on stderr), 130 Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in arguments if not a.startswith("-")), None)
    try:
        parser = parser_for(command)
        if not arguments:
            parser.print_help()
            return 0
        args = parser.parse_args(arguments)
        return int(args.run(args))
    except Mistake as mistake:
        print(f"fastopt: error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastopt: stopped by Ctrl-C, nothing written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has left: no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        print("fastopt: error: not enough memory for this data and network", file=sys.stderr)
        return 2
    except SystemExit as leaving:  # argparse, after --help or --version
        return int(leaving.code or 0)


if __name__ == "__main__":
    sys.exit(main())
