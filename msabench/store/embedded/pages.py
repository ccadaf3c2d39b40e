"""The rows in a SQLite file's pages, read without its trees and indexes: what can still be read of a damaged file.

SQLite finds a row from the root of its table down, so one bad page hides all that lie below it. Here every page is
looked at for itself. File format: https://www.sqlite.org/fileformat2.html, sections 1.3, 1.5, 1.6 and 2.1.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

MAGIC = b"SQLite format 3\0"
DEFAULT_SIZE = 4096  # bytes of a page of a file whose header is lost; SQLite's since 2016
INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF = 2, 10, 13  # the kinds of pages that have rows
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes by serial type

Value = int | float | str | bytes | None


class Row(NamedTuple):
    rowid: int | None  # None in an index, and in a table WITHOUT ROWID, which is one
    values: list[Value]  # of a row that goes on in lost pages, the last texts and blobs are cut
    whole: bool  # neither cut nor with a text that is none


class Pages:
    """The pages of a file at rest: without a WAL, and not written meanwhile."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = self._raw[:100] if self._raw[:16] == MAGIC and len(self._raw) >= 100 else None
        size = int.from_bytes(header[16:18], "big") if header else DEFAULT_SIZE
        self.size = 65536 if size == 1 else size
        if self.size < 512 or self.size & (self.size - 1):
            header, self.size = None, DEFAULT_SIZE
        self.usable = self.size - (header[20] if header else 0)
        self.count = -(-len(self._raw) // self.size)
        self.free, self.free_known = self._free(header)

    def close(self) -> None:
        self._raw.close()

    def rows(self) -> Iterator[Row]:
        """Every row of every table and index that lies in a readable page; a row that makes no sense is left out."""
        for number in range(1, self.count + 1):
            if number not in self.free:  # what was deleted is still written there
                yield from self._rows(number)

    def _page(self, number: int) -> bytes:
        """A page; shorter, or empty, beyond the end of the file."""
        return self._raw[(number - 1) * self.size : number * self.size]

    def _free(self, header: bytes | None) -> tuple[set[int], bool]:
        """The pages that belong to no table any more, and whether these are all of them."""
        if header is None:
            return set(), False
        trunk, total = struct.unpack(">II", header[32:40])
        free: set[int] = set()
        while trunk:
            page = self._page(trunk)
            if trunk in free or len(page) < self.size or (n := int.from_bytes(page[4:8], "big")) > self.size // 4 - 2:
                return free, False
            free |= {trunk, *struct.unpack_from(f">{n}I", page, 8)}
            trunk = int.from_bytes(page[:4], "big")
        return free, len(free) == total

    def _rows(self, number: int) -> Iterator[Row]:
        page, start = self._page(number), 100 if number == 1 else 0
        kind = page[start] if len(page) > start else 0
        if kind not in (INDEX_INTERIOR, INDEX_LEAF, TABLE_LEAF):
            return
        first = start + (12 if kind == INDEX_INTERIOR else 8)
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        for place in range(first, min(first + 2 * cells, len(page) - 1), 2):
            try:
                yield self._row(page, int.from_bytes(page[place : place + 2], "big"), kind)
            except (IndexError, ValueError):  # not a row: its bytes, or those that say where it is, were overwritten
                continue

    def _row(self, page: bytes, at: int, kind: int) -> Row:
        if kind == INDEX_INTERIOR:
            at += 4  # the page below
        length, at = _varint(page, at)
        rowid = None
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
        here = self._length_here(length, kind)
        content = page[at : at + here]
        if length > len(self._raw) or len(content) < here:
            raise ValueError("longer than the page")
        if here < length:
            content += self._overflow(int.from_bytes(page[at + here : at + here + 4], "big"), length - here)
        return Row(rowid, *_values(content))

    def _length_here(self, length: int, kind: int) -> int:
        """The bytes of a row of `length` bytes that are in its page; the others are in pages of their own."""
        most = self.usable - 35 if kind == TABLE_LEAF else (self.usable - 12) * 64 // 255 - 23
        if length <= most:
            return length
        least = (self.usable - 12) * 32 // 255 - 23
        fitting = least + (length - least) % (self.usable - 4)
        return fitting if fitting <= most else least

    def _overflow(self, number: int, left: int) -> bytes:
        """The rest of a row, as far as the chain of its pages goes."""
        parts = []
        while left > 0 and 2 <= number <= self.count and number not in self.free:
            page = self._page(number)
            parts.append(page[4 : 4 + min(left, self.usable - 4)])
            left -= len(parts[-1]) if len(page) == self.size else left
            number = int.from_bytes(page[:4], "big")
        return b"".join(parts)


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next thing begins."""
    value = 0
    for i in range(8):
        byte = raw[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    value = value << 8 | raw[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9


def _values(content: bytes) -> tuple[list[Value], bool]:
    """A row's values, and whether they are whole. Raises IndexError or ValueError when it is none."""
    header, at = _varint(content, 0)
    kinds: Sequence[int] = content[at:header]
    if max(kinds, default=0) >= 0x80:  # some take more than a byte each
        kinds = []
        while at < header:
            kind, at = _varint(content, at)
            kinds.append(kind)
    at = header
    if len(content) < header:
        raise ValueError("types beyond the end")
    values: list[Value] = []
    whole = True
    for kind in kinds:
        length = INTEGERS.get(kind) or (8 if kind == 7 else (kind - 12) // 2 if kind >= 12 else 0)
        raw = content[at : at + length]
        at += length
        if kind >= 12:
            text = raw.decode(errors="replace") if kind % 2 else None
            values.append(raw if text is None else text)
            whole &= text is None or text.encode() == raw
        elif len(raw) < length or kind in (10, 11) or kind < 0:
            raise ValueError("a cut number, or a type that SQLite has not")
        elif kind == 7:
            values.append(struct.unpack(">d", raw)[0])
        else:
            values.append(int.from_bytes(raw, "big", signed=True) if raw else {0: None, 8: 0, 9: 1}[kind])
    return values, whole and at <= len(content)
