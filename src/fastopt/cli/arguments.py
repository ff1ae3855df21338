"""Argument parsing: types with a clear complaint, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any, NoReturn

from fastopt.cli.errors import Mistake, close_names

__all__ = ["Parser", "fraction", "hidden_sizes", "positive", "whole", "whole_from_0"]


class Parser(argparse.ArgumentParser):
    """Complains by a `Mistake`, without the usage, and knows near names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        message = message.replace("argument ", "", 1) if message.startswith("argument ") else message
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        wrong = re.match(r"COMMAND: invalid choice: '([^']*)'", message)
        if unknown:
            message = f"no option {unknown[1]!r}{close_names(unknown[1], self.all_options())}"
        elif wrong:
            message = f"no command {wrong[1]!r}{close_names(wrong[1], self.commands())} (see fastopt --help)"
        raise Mistake(message)

    def commands(self) -> dict[str, Parser]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def all_options(self) -> list[str]:
        parsers = [self, *self.commands().values()]
        return sorted({option for parser in parsers for option in parser._option_string_actions})


def whole(text: str, least: int = 1) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return value


def whole_from_0(text: str) -> int:
    return whole(text, 0)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value > 0.0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return value


def share(text: str) -> float:
    value = fraction(text)
    if value == 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def hidden_sizes(text: str) -> tuple[int, ...]:
    if text.strip() in ("0", ""):
        return ()
    return tuple(whole(part.strip()) for part in text.split(","))
