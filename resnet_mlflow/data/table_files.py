"""User tables, read as text: CSV, TSV, JSON lines and Parquet. Their size is bounded before memory is allocated."""

import csv
import json
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_mlflow.data.walking import is_utf8
from resnet_mlflow.errors import InputError, printable, shown

# Fourteen million images, as in ImageNet-21k, with three columns are 0.9 GB of text.
MAX_BYTES = 2**30
MAX_CELLS = 50_000_000
MAX_COLUMNS = 1000
MAX_LINE = 2**20
_ROWS_SHOWN = 10
_SEPARATORS = (",", ";", "\t")

_Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Table:
    """Texts in columns.

    Attributes:
        path: The file.
        columns: Texts by column name, all of equal length; an empty text means no value.
        rows: Number by which a person finds each row: its line in a text file, where the header may be line 1; else
            from 1.
    """

    path: Path
    columns: _Columns
    rows: Sequence[int]

    def list_rows(self, indices: Sequence[int]) -> str:
        """Return a description of rows for an error: the first of them, and how many more."""
        return _list_rows(self.path, [self.rows[index] for index in indices])


def read_table(path: Path) -> Table:
    """Read a table by its file suffix.

    Columns with values other than text, numbers, booleans and times are omitted.

    Raises:
        InputError: If the file does not exist, is too large, damaged, or not a table.
    """
    reader = _READERS.get(path.suffix.lower())
    where = printable(str(path))
    if reader is None:
        raise InputError(f"a table must end in {', '.join(ENDINGS)}, got {where}; save it as one of these")
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"a table must be a regular file, got {where}; pass another")
        if status.st_size > MAX_BYTES:
            raise InputError(f"a table must have at most {MAX_BYTES} bytes, got {status.st_size} in {where}; split it")
        columns, rows = reader(path)
    except OSError as error:
        reason = error.strerror or str(error).split("\n")[0][:100]
        raise InputError(f"a table must be a readable file, got {where} ({reason}); check the path") from None
    if not rows:
        raise InputError(f"a table must have rows, got none in {where}; add one per image")
    return Table(path, columns, rows)


def _read_separated(path: Path) -> tuple[_Columns, Sequence[int]]:
    """Return the columns of a text file, divided by the most frequent separator in its header."""
    lines = _Lines(path)
    columns: list[list[str]] = []
    rows: list[int] = []
    ragged: list[int] = []
    end = 0
    try:
        separator, names = _read_header(lines)
        _check_columns(path, names)
        columns += [[] for _ in names]
        end = lines.number
        for record in csv.reader(lines, delimiter=separator, strict=True):
            begin, end = end + 1, lines.number
            if len(record) == len(names):
                rows.append(begin)
                for column, value in zip(columns, record, strict=True):
                    column.append(value)
                _check_cells(path, len(rows), len(names))
            elif record:
                ragged.append(begin)
    except csv.Error as error:
        # A quote that is never closed extends to the end of the file: the error to fix is where it begins.
        raise InputError(
            f"a table must be complete and quoted by RFC 4180, got {error} in a record that begins in "
            f"{_list_rows(path, [end + 1])}; fix it"
        ) from None
    if ragged:
        raise InputError(
            f"rows must have as many values as the header ({len(names)}), got others in {_list_rows(path, ragged)}; "
            f"quote "
            f"values that contain the separator"
        )
    return dict(zip(names, columns, strict=True)), rows


def _read_header(lines: "_Lines") -> tuple[str, list[str]]:
    """Return the most frequent separator in the first line, and the names of the columns."""
    line = next((line for line in lines if line.strip()), "")
    headers = [next(csv.reader([line], delimiter=separator), []) for separator in _SEPARATORS]
    header = max(headers, key=len)
    return _SEPARATORS[headers.index(header)], [name.strip() for name in header]


def _read_json_lines(path: Path) -> tuple[_Columns, Sequence[int]]:
    """Return the columns of a file with one JSON object per line."""
    columns: dict[str, list[str]] = {}
    nested: set[str] = set()
    rows: list[int] = []
    broken: list[int] = []
    lines = _Lines(path)
    for line in lines:
        if not line.strip():
            continue
        try:
            values = {str(name).strip(): value for name, value in json.loads(line).items()}
            texts = {name: _text(value) for name, value in values.items() if not isinstance(value, dict | list)}
        except (ValueError, AttributeError, RecursionError):
            broken.append(lines.number)
            continue
        nested |= values.keys() - texts.keys()
        new = [name for name in texts if name not in columns]
        _check_cells(path, len(rows) + 1, len(columns) + len(new))
        columns |= {name: [""] * len(rows) for name in new}
        rows.append(lines.number)
        for name, column in columns.items():
            column.append(texts.get(name, ""))
    if broken:
        raise InputError(f"each row must be a JSON object, got something else in {_list_rows(path, broken)}; fix it")
    _check_columns(path, list(columns))
    return {name: column for name, column in columns.items() if name not in nested}, rows


def _read_parquet(path: Path) -> tuple[_Columns, Sequence[int]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            kept = [field.name for field in schema if _is_plain(field.type)]
            _check_columns(path, [str(name).strip() for name in schema.names])
            _check_cells(path, file.metadata.num_rows, len(kept))
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            if (size := sum(group.total_byte_size for group in groups)) > MAX_BYTES:
                raise InputError(f"a table must have at most {MAX_BYTES} bytes, got {size} in {path}; split it")
        # As dictionaries: a text repeated in a million rows is stored once.
        texts = [field.name for field in schema if field.name in kept and _is_text(field.type)]
        table = parquet.read_table(path, columns=kept, read_dictionary=texts, partitioning=None)
        columns = {name.strip(): _texts(table.column(name)) for name in kept}
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [""])[0][:100]
        raise InputError(
            f"a table must be complete, got {reason} in {printable(str(path))}; write the file again"
        ) from None
    return columns, range(1, table.num_rows + 1)


def _texts(column: Any) -> list[str]:
    texts: list[str] = []
    for chunk in column.chunks:
        if hasattr(chunk, "dictionary"):
            known = [_text(value) for value in chunk.dictionary.to_pylist()]
            texts += ["" if index is None else known[index] for index in chunk.indices.to_pylist()]
        else:
            texts += [_text(value) for value in chunk.to_pylist()]
    return texts


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_temporal, types.is_null)
    return _is_text(kind) or any(test(kind) for test in tests)


def _text(value: Any) -> str:
    """Return a value as text, as in CSV; empty for None. Integers that missing values turned into floats stay integers.

    Raises:
        ValueError: If it is text that cannot be encoded.
    """
    if isinstance(value, str):
        if not is_utf8(value):
            raise ValueError("not Unicode")
        return value
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


class _Lines:
    """The lines of a text file in UTF-8, or in UTF-16 with a byte order mark, with a limit on their length."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0
        self._lines = self._read()

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def _read(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            marked = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
        with self.path.open(encoding="utf-16" if marked else "utf-8-sig", newline="") as file:
            try:
                while line := file.readline(MAX_LINE + 1):
                    self.number += 1
                    if len(line) > MAX_LINE:
                        raise InputError(
                            f"lines must have at most {MAX_LINE} characters, got more in "
                            f"{_list_rows(self.path, [self.number])}; fix it"
                        )
                    yield line
            except UnicodeError:
                raise InputError(
                    f"a table must be text in UTF-8, got other bytes after {_list_rows(self.path, [self.number])}; "
                    "save it as UTF-8"
                ) from None


def _check_columns(path: Path, names: Sequence[str]) -> None:
    # Spreadsheets write columns without a name.
    repeated = [name for name in names if name and names.count(name) > 1] if len(names) <= MAX_COLUMNS else []
    if len(names) > MAX_COLUMNS or repeated:
        got = f"{shown(repeated[0])} twice" if repeated else f"{len(names)}"
        raise InputError(
            f"a table must have at most {MAX_COLUMNS} columns with different names, got {got} in "
            f"{printable(str(path))}; fix it"
        )


def _check_cells(path: Path, n_rows: int, n_columns: int) -> None:
    if n_rows * n_columns > MAX_CELLS or n_columns > MAX_COLUMNS:
        raise InputError(
            f"a table must have at most {MAX_CELLS} values in {MAX_COLUMNS} columns, got {n_rows} rows of {n_columns} "
            f"in {printable(str(path))}; remove columns"
        )


def _list_rows(path: Path, rows: Iterable[int]) -> str:
    rows = list(rows)
    first = ", ".join(map(str, rows[:_ROWS_SHOWN]))
    more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {first}{more} of {printable(str(path))}"


_READERS: dict[str, Callable[[Path], tuple[_Columns, Sequence[int]]]] = {
    **dict.fromkeys((".csv", ".tsv"), _read_separated),
    **dict.fromkeys((".jsonl", ".ndjson"), _read_json_lines),
    ".parquet": _read_parquet,
}
ENDINGS = tuple(_READERS)
