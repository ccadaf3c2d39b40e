"""Small pickles that unfold, put together by hand: on the bare machine each takes minutes, all memory, or the process.

`BOMBS` holds those that are refused as they are read, by name, with words of the sentence that says so.
"""

from __future__ import annotations

import pickle
import struct

START = b"\x80\x04"
NEW_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
ENCODE = b"c_codecs\nencode\n"
LATIN1 = b"X\x06\x00\x00\x00latin1"
MEGATEXT = b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
MEGABYTES = b"B" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)
REST = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"  # of a dtype's state: no fields, no flags
PRIME = (1 << 61) - 1  # whole numbers have one hash with their remainder


def whole(n: int) -> bytes:
    return pickle.dumps(n, 2)[2:-1]


def dtype(name: str, order: str = "<") -> bytes:
    """numpy.dtype(name), as numpy writes it."""
    text = b"X" + struct.pack("<I", len(name)) + name.encode()
    return b"cnumpy\ndtype\n" + text + b"\x89\x88\x87R(K\x03X\x01\x00\x00\x00" + order.encode() + REST


def state(shape: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    """What an array becomes, from the programs that make its dtype and its content."""
    return b"(K\x01(" + b"".join(map(whole, shape)) + b"t" + kind + b"\x89" + content + b"tb"


def array(shape: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    return NEW_ARRAY + state(shape, kind, content)


def doubled(leaf: bytes, node: bytes, depth: int = 30) -> bytes:
    """A container of two references to a container of two references to …, `depth` times; `node` has two %s."""
    program = b"(" + leaf + b"\x94"
    for level in range(depth):
        program += node.replace(b"%s", b"h" + bytes([level])) + b"\x94"
    return program + b"1h" + bytes([depth])  # nothing of it stays on the stack but the last


TUPLES = doubled(b")", b"%s%s\x86")
LISTS = doubled(b"]K\x01a", b"](%s%se")
DICTS = doubled(b"}", b"}(K\x00%sK\x01%su")
OBJECTS = dtype("O8", "|")
CALLS = 10_000


def object_arrays(depth: int, *, outside_in: bool = False) -> bytes:
    """An object array that holds an object array that holds …: freeing it walks the C stack."""
    start = OBJECTS + b"q\x000"
    if outside_in:  # each is put into the one before it while it is still empty
        made = b"".join(NEW_ARRAY + b"r" + struct.pack("<I", i + 1) + b"0" for i in range(depth))
        return start + made + b"".join(
            b"j" + struct.pack("<I", i + 1) + state((1,), b"h\x00", b"]j" + struct.pack("<I", i + 2) + b"a") + b"0"
            for i in range(depth - 1)
        ) + b"N"  # fmt: skip
    inner = array((1,), b"h\x00", b"]Na")
    return start + inner + (b"q\x010" + array((1,), b"h\x00", b"]h\x01a")) * depth


BOMBS: dict[str, tuple[bytes, str]] = {
    "nested tuples as a key": (b"}" + TUPLES + b"Ns", "a tuple as the key"),
    "nested tuples as a key among others": (b"}(K\x01N" + TUPLES + b"Nu", "a tuple as the key"),
    "nested tuples as a key of a dict made at once": (b"(" + TUPLES + b"Nd", "a tuple as the key"),
    "an empty tuple as a key": (b"})Ns", "a tuple as the key"),
    "nested tuples in a set": (b"\x8f(" + TUPLES + b"\x90", "a set"),
    "nested tuples in a frozenset": (b"(" + TUPLES + b"\x91", "a set"),
    "nested tuples written out": (b"cbuiltins\nstr\n" + TUPLES + b"\x85R", "builtins.str"),
    "nested lists written out": (b"cbuiltins\nstr\n" + LISTS + b"\x85R", "builtins.str"),
    "copies of a list": (b"cbuiltins\nlist\n" + LISTS + b"\x85R", "builtins.list"),
    "a list of a range of bytes": (b"cbuiltins\nbytes\n" + whole(1 << 40) + b"\x85R", "pickle"),
    "a number of thousands of digits as text": (b"cbuiltins\nint\nV" + b"9" * 5000 + b"\n\x85R", "builtins.int"),
    "nested tuples": (TUPLES, "unfolds"),
    "nested lists": (LISTS, "unfolds"),
    "nested dicts": (DICTS, "unfolds"),
    "nested lists in an object array": (array((1,), OBJECTS, b"]" + LISTS + b"a"), "unfolds"),
    "a text a hundred thousand times": (MEGATEXT + b"\x940](" + b"h\x00" * 100_000 + b"e", "unfolds"),
    "an array a hundred thousand times": (
        array((1 << 20,), dtype("u1", "|"), MEGABYTES) + b"\x940](" + b"h\x00" * 100_000 + b"e",
        "unfolds",
    ),
    "a text as every key's value": (
        MEGATEXT + b"\x940}(" + b"".join(whole(i) + b"h\x00" for i in range(10_000)) + b"u",
        "unfolds",
    ),
    "tuples 20,000 deep": (b")" + b"\x85" * 20_000, "32 deep"),
    "lists 20,000 deep": (b"]" * 20_000 + b"a" * 19_999, "32 deep"),
    "dicts 20,000 deep": (b"}N" * 20_000 + b"}" + b"s" * 20_000, "32 deep"),
    "object arrays 10,000 deep": (object_arrays(10_000), "32 deep"),
    "object arrays 10,000 deep, from outside": (object_arrays(10_000, outside_in=True), "32 deep"),
    "a list in itself": (b"]\x94h\x00a", "in itself"),
    "a dict in itself": (b"}\x94K\x00h\x00s", "in itself"),
    "a tuple in itself": (b"]\x94h\x00\x85a", "in itself"),
    "an object array in itself": (
        b"]\x94" + array((1,), OBJECTS, b"]h\x00a") + b"\x940h\x00h\x01a", "in itself",
    ),
    "keys of one hash": (b"}(" + b"".join(whole(k * PRIME) + b"N" for k in range(1, 100_000)) + b"u", "64 bits"),
    "memo places of one hash": (b"N" + b"".join(b"p%d\n" % (k * PRIME) for k in range(1, 100_000)), "memo"),
    "a number of 5,000 digits": (b"I" + b"9" * 5000 + b"\n", "whole number"),
    "a long of 5,000 digits": (b"L" + b"9" * 5000 + b"L\n", "whole number"),
    "a long of a million hexadecimal digits": (b"L0x" + b"f" * 1_000_000 + b"\n", "64 bits"),
    "a long of 200 bytes": (b"\x8a\xc8" + b"\x7f" * 200, "64 bits"),
    "a long of a million bytes": (b"\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000, "64 bits"),
    "an array of 1e12 empty rows": (array((10**12, 0), dtype("f4"), b"C\x00"), "shape"),
    "an array of no rows, 1e12 wide": (array((0, 10**12), dtype("f4"), b"C\x00"), "shape"),
    "an array of 1e12 texts without letters": (array((10**12,), dtype("S0", "|"), b"C\x00"), "shape"),
    "an array of 1e12 rows of no object": (array((10**12, 0), OBJECTS, b"]"), "shape"),
    "an array from a buffer of 1e12 empty rows": (
        b"cnumpy.core.numeric\n_frombuffer\n(C\x00" + dtype("f4") + whole(0) + whole(10**12) + b"\x86X\x01\0\0\0CtR",
        "shape",
    ),
    "an array whose shape has thousands of digits": (
        NEW_ARRAY + b"(K\x01(L0x" + b"f" * 5000 + b"\nt" + dtype("f4") + b"\x89C\x00tb", "64 bits",
    ),
    "an array whose shape is nested lists": (NEW_ARRAY + b"(K\x01" + LISTS + dtype("f4") + b"\x89C\x00tb", "shape"),
    "an array whose shape is an array of nested lists": (
        NEW_ARRAY + b"(K\x01" + array((1,), OBJECTS, b"]" + LISTS + b"a") + b"\x85" + dtype("f4") + b"\x89C\x00tb",
        "shape",
    ),
    "bytes copied a hundred thousand times": (
        MEGATEXT + b"\x940" + (ENCODE + b"h\x00" + LATIN1 + b"\x86R0") * CALLS, "arrays that take more",
    ),
    "bytes turned round a hundred thousand times": (
        MEGABYTES + b"\x940" + dtype("f8", ">") + b"\x940"
        + (NEW_ARRAY + state((1 << 17,), b"h\x01", b"h\x00")) * 2_000,
        "arrays that take more",
    ),
    "a list copied into arrays": (
        b"](" + b"N" * 50_000 + b"e\x940" + OBJECTS + b"\x940"
        + (NEW_ARRAY + state((50_000,), b"h\x01", b"h\x00")) * 2_000,
        "arrays that take more",
    ),
    "an array filled again and again": (
        array((1,), dtype("u1", "|"), b"C\x01x") + state((1,), dtype("u1", "|"), b"C\x01x"), "shape",
    ),
    "rows assigned into an array": (
        array((1 << 20,), dtype("u1", "|"), MEGABYTES) + b"\x94(" + b"Nh\x00" * 100_000 + b"u", "keys for",
    ),
    "a bytearray of 4 GB that is not there": (b"\x96" + struct.pack("<Q", 1 << 32) + b"x", "pickle"),
    "a text of 4 GB that is not there": (b"X" + struct.pack("<I", (1 << 32) - 1) + b"x", "pickle"),
    "a frame of 4 EB that is not there": (b"\x95" + struct.pack("<Q", 1 << 62) + b"N", "damaged or hostile"),
    "a dtype of a hundred thousand arguments": (b"cnumpy\ndtype\n(" + b"N" * 100_000 + b"tR", "numpy never writes"),
    "a dtype of very wide text": (b"cnumpy\ndtype\nX\x0b\x00\x00\x00S9999999999\x85R", "numpy.dtype"),
    "a class's name of a million letters": (b"c" + b"m" * 1_000_000 + b"\nx\n", "mmm…"),
    "an object of a class": (b"cnumpy\ndtype\n)\x81", "an object of a class"),
    "a function with a state": (b"c_codecs\nencode\n}X\x01\x00\x00\x00ah\x00sb", "pickle"),
}  # fmt: skip
