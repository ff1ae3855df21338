"""Reading a table: CSV (any of , ; tab |, gzip too), NPZ and Parquet become named columns of equal length.

The kind of file is read from its first bytes, not from its name. Nothing is unpickled.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.cli.errors import Mistake, close_names, first_line, listed, need

__all__ = ["Table", "read_table", "digits_table", "as_table", "as_text"]

SEPARATORS = ",;\t|"


@dataclass
class Table:
    """Named columns: numbers as numeric arrays (NaN: missing), text as str objects (None: missing)."""

    columns: dict[str, np.ndarray]
    source: str = "table"
    notes: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def take_out(self, name: str) -> np.ndarray:
        """Remove a column and return it."""
        if name not in self.columns:
            near = close_names(name, self.columns)
            known = f"{' ' if near else '; '}columns: {listed(self.columns)}"
            raise Mistake(f"{self.source} has no column {name!r}{near}{known}")
        return self.columns.pop(name)


def digits_table() -> tuple[Table, str]:
    """The data set inside the package, as 64 columns and the target ``digit``."""
    from fastopt.data import load_digits

    x, y = load_digits()
    table = _matrix_table(np.asarray(x), "pixel", "digits")
    table.columns["digit"] = np.asarray(y)
    return table, "digit"


def read_table(path: str | Path, missing: Sequence[str] = (), header: bool = True) -> Table:
    """Read a file into a `Table`.

    Parameters
    ----------
    path : str or Path
        CSV (with a header line), NPZ or Parquet.
    missing : sequence of str
        Texts that mean "missing" in a CSV, besides an empty field, NA, NaN, null and their like.
    header : bool
        False: a CSV has no header line; its columns are named ``c1``, ``c2``, ...
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except FileNotFoundError:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Mistake(f"no file {str(path)!r}{close_names(path.name, beside)}") from None
    except IsADirectoryError:
        raise Mistake(f"{str(path)!r} is a folder; a CSV, NPZ or Parquet file is wanted") from None
    except OSError as error:
        raise Mistake(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    if not start.strip():
        raise Mistake(f"{str(path)!r} is empty")
    if start.startswith(b"PK\x03\x04"):
        table = _read_npz(path)
    elif start.startswith(b"PAR1"):
        table = _read_parquet(path)
    elif start.startswith(b"\x1f\x8b") or b"\0" not in start:
        table = _read_csv(path, missing, header, packed=start.startswith(b"\x1f\x8b"))
    else:
        raise Mistake(f"{str(path)!r} is neither CSV nor NPZ nor Parquet")
    if table.rows == 0:
        raise Mistake(f"{str(path)!r} holds column names and no rows")
    return table


def as_table(rows: Any) -> Table:
    """A `Table` from what a caller has in hand: a path, a DataFrame, a dict of columns or a 2-D array."""
    if isinstance(rows, Table):
        return rows
    if isinstance(rows, (str, Path)):
        return read_table(rows)
    if isinstance(rows, Mapping):
        columns = {str(name): _plain(np.asarray(values), str(name)) for name, values in rows.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise Mistake("the columns differ in length")
        return Table(columns)
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return Table(_frame_columns(rows))
    return _matrix_table(np.asarray(rows), "x", "array")


def _matrix_table(matrix: np.ndarray, stem: str, source: str) -> Table:
    if matrix.ndim < 2:
        raise Mistake(f"{source} has shape {matrix.shape}; rows and columns are wanted")
    if matrix.dtype.kind not in "fiub":
        raise Mistake(f"{source} is {matrix.dtype}; numbers are wanted")
    columns = np.asfortranarray(matrix.reshape(len(matrix), -1))  # column by column is how it is read next
    width = len(str(max(columns.shape[1] - 1, 0)))
    return Table({f"{stem}{j:0{width}d}": columns[:, j] for j in range(columns.shape[1])}, source)


def _read_npz(path: Path) -> Table:
    try:
        # The file is opened here: np.load leaves its own open when what it finds is torn.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise Mistake(f"cannot read {str(path)!r} as NPZ: {first_line(error)}") from None
    if not arrays:
        raise Mistake(f"{str(path)!r} holds no arrays")
    lengths = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        shapes = listed(f"{name} {array.shape}" for name, array in arrays.items())
        raise Mistake(f"the arrays in {str(path)!r} differ in length: {shapes}; one row each is wanted")
    table = Table({}, str(path))
    for name, array in arrays.items():
        if array.ndim == 1 or array.shape[1:] == (1,):
            table.columns[name] = _plain(array.reshape(len(array)), name)
        else:
            block = _matrix_table(array, "x" if name == "X" else f"{name}_", f"{name} in {path}")
            table.columns.update(block.columns)
    return table


def _read_parquet(path: Path) -> Table:
    pandas = need("pandas", "reading a Parquet file")
    need("pyarrow", "reading a Parquet file", '"fastopt[parquet]"')
    try:
        frame = pandas.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError) as error:
        raise Mistake(f"cannot read {str(path)!r} as Parquet: {first_line(error)}") from None
    return Table(_frame_columns(frame), str(path))


def _read_csv(path: Path, missing: Sequence[str], header: bool, packed: bool) -> Table:
    pandas = need("pandas", "reading a CSV file")
    notes: list[str] = []
    encoding = "utf-8-sig"
    try:
        sample = _sample(path, packed, encoding)
    except (OSError, EOFError) as error:
        raise Mistake(f"cannot read {str(path)!r}: {first_line(error)}") from None
    first = next((line for line in sample.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    decimal = "."
    if separator != "," and re.search(
        rf"(^|{re.escape(separator)})-?\d+,\d+({re.escape(separator)}|$)", sample, re.M
    ):
        decimal = ","
        notes.append("numbers are read with a decimal comma")
    options: dict[str, Any] = {
        "sep": separator, "decimal": decimal, "na_values": list(missing),
        "low_memory": False, "index_col": False,
        "header": 0 if header else None, "skipinitialspace": True, "compression": "gzip" if packed else None,
    }  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            try:
                frame = pandas.read_csv(path, encoding=encoding, **options)
            except UnicodeDecodeError:
                frame = pandas.read_csv(path, encoding="cp1252", encoding_errors="replace", **options)
                notes.append("the file is not UTF-8; it was read as Windows-1252")
    except pandas.errors.EmptyDataError:
        raise Mistake(f"{str(path)!r} is empty") from None
    except pandas.errors.ParserWarning:
        raise Mistake(f"{str(path)!r}: some rows have more fields than the header line") from None
    except (pandas.errors.ParserError, OSError, EOFError, ValueError) as error:
        text = first_line(error).replace("Error tokenizing data. C error: ", "")
        raise Mistake(f"cannot read {str(path)!r} as CSV: {text}") from None
    if not header:
        frame.columns = [f"c{j + 1}" for j in range(frame.shape[1])]
    leading = str(frame.columns[0])
    if leading.startswith("Unnamed:") and len(frame) and (frame.iloc[:, 0] == np.arange(len(frame))).all():
        frame = frame.iloc[:, 1:]
        notes.append("the first column, unnamed row numbers, is left out")
    return Table(_frame_columns(frame), str(path), notes)


def _sample(path: Path, packed: bool, encoding: str) -> str:
    """The first lines, whole ones only."""
    with gzip.open(path) if packed else path.open("rb") as file:
        raw = file.read(1 << 16)
    head, newline, _ = raw.rpartition(b"\n")
    return (head if newline else raw).decode(encoding, errors="replace")


def _frame_columns(frame: Any) -> dict[str, np.ndarray]:
    """The columns of a DataFrame as plain arrays."""
    pandas = need("pandas", "reading a table")
    columns = {}
    for position, name in enumerate(frame.columns):
        series = frame.iloc[:, position]
        kinds = pandas.api.types
        if kinds.is_bool_dtype(series.dtype) and not series.isna().any():
            values = series.to_numpy(dtype=bool)
        elif kinds.is_datetime64_any_dtype(series.dtype) or kinds.is_timedelta64_dtype(series.dtype):
            zero = (
                pandas.Timedelta(0)
                if kinds.is_timedelta64_dtype(series.dtype)
                else pandas.Timestamp(0, tz=series.dt.tz)
            )
            values = ((series - zero) / pandas.Timedelta(days=1)).to_numpy(dtype=float, na_value=np.nan)
        elif kinds.is_numeric_dtype(series.dtype) and not kinds.is_bool_dtype(series.dtype):
            if kinds.is_complex_dtype(series.dtype):
                raise Mistake(f"column {str(name)!r} holds complex numbers; real ones are wanted")
            if series.isna().any() or not isinstance(series.dtype, np.dtype):
                values = series.to_numpy(dtype=float, na_value=np.nan)
            else:
                values = series.to_numpy()
        else:
            values = _plain(
                series.astype(object).where(series.notna(), None).to_numpy(dtype=object), str(name)
            )
        columns[str(name)] = values
    return columns


def _plain(values: np.ndarray, name: str) -> np.ndarray:
    """A numeric array as it is; anything else as str objects, None where nothing stands."""
    if values.ndim != 1:
        raise Mistake(f"column {name!r} has shape {values.shape}; one value a row is wanted")
    if values.dtype.kind in "fiub":
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind not in "OUT":
        raise Mistake(f"column {name!r} is {values.dtype}; numbers or text are wanted")
    text = np.empty(len(values), object)
    for i, value in enumerate(values):
        if isinstance(value, (list, tuple, dict, set, np.ndarray)):
            raise Mistake(f"column {name!r} holds {type(value).__name__} objects; numbers or text are wanted")
        if value is None or value != value:
            continue
        text[i] = (value.strip() or None) if isinstance(value, str) else as_text(value)
    return text


def as_text(value: Any) -> str:
    """A value as a category's name: 3.0 and 3 are the same."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)
