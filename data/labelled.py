"""Tables of labelled texts, line by line: TSV as GLUE has it, CSV, and JSON objects a line."""

import csv
import json
import sys

from common import UserError

FORMATS = ("tsv", "csv", "jsonl")


class Table:
    """A file and the columns that are wanted of it.

    columns: names, or numbers from 1; header: does the first line name the columns (CSV, TSV)? flag: for messages."""

    def __init__(self, path, form, header, columns, flag):
        self.path, self.form, self.header, self.columns, self.flag = path, form, header, columns, flag

    def where(self, line):
        return f"{self.flag}: {self.path}:{line}"

    def rows(self):
        """(line number from 1, values of the columns as text, None) of each row, or (line number, None, what is wrong
        with it). A file of which nothing can be read ends it with an error."""
        try:
            with open(self.path, "rb") as file:
                first = file.read(3)
                file.seek(3 if first == b"\xef\xbb\xbf" else 0)  # a mark of the byte order, as MRPC has it
                lines = (line.decode("utf-8", "surrogateescape") for line in file)
                yield from self.objects(lines) if self.form == "jsonl" else self.table(lines)
        except OSError as problem:
            raise UserError(f"{self.flag}: {self.path}: {problem.strerror}; give a readable file") from None

    def objects(self, lines):
        for number, line in enumerate(lines, 1):
            if line.strip():
                values, problem = self.values_of(line)
                yield number, values, problem

    def values_of(self, line):
        try:
            entry = json.loads(line)
        except ValueError as problem:
            return None, f"not JSON ({problem})"
        if not isinstance(entry, dict):
            return None, "not a JSON object: {…} expected"
        values = []
        for column in self.columns:
            if column not in entry:
                return None, f"no '{column}' in it, it has {', '.join(map(repr, entry)) or 'nothing'}"
            value = entry[column]
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                return None, f"'{column}' is neither text nor a number"
            if isinstance(value, float) and value.is_integer():
                value = int(value)  # 1.0 and 1 are the same number, and so the same label
            values.append(str(value))
        return checked(values)

    def table(self, lines):
        rows = csv_rows(lines, self) if self.form == "csv" else tsv_rows(lines)
        places = width = None
        for number, fields in rows:
            if places is None:
                width = len(fields)
                places = [self.place(column, fields, number) for column in self.columns]
                if self.header:
                    continue
            if len(fields) != width:
                yield number, None, f"{len(fields)} columns found, {width} expected as in the first line"
            else:
                yield number, *checked([fields[place] for place in places])

    def place(self, column, fields, line):
        """Where a column is, by the first line."""
        if column.isascii() and column.isdigit() and column not in (fields if self.header else ()):
            if 1 <= int(column) <= len(fields):
                return int(column) - 1
            raise UserError(f"{self.where(line)}: no column {column}, there are {len(fields)}; give another number")
        if not self.header:
            raise UserError(f"{self.where(line)}: column '{column}' found; without a header give numbers from 1")
        if fields.count(column) != 1:
            found = "twice" if column in fields else "not"
            raise UserError(
                f"{self.where(line)}: column '{column}' is {found} among {', '.join(map(repr, fields))}; name or "
                "number the columns by --text, --text2 and --label"
            )
        return fields.index(column)


def checked(values):
    """(values, None), or (None, problem) where one is not Unicode."""
    try:
        for value in values:
            value.encode("utf-8")
        return values, None
    except UnicodeEncodeError:
        return None, "not UTF-8"


def tsv_rows(lines):
    """Quotes are text like any other, as in GLUE's files."""
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if line:
            yield number, line.split("\t")


def csv_rows(lines, table):
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(lines, strict=True)
    begin = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise UserError(
                f"{table.where(begin)}: not CSV ({problem}); a field with a comma, a quote or a line end stands in "
                "quotes, and a quote in it is doubled; for values between tabs give --format tsv"
            ) from None
        if fields:
            yield begin, fields
        begin = reader.line_num + 1
