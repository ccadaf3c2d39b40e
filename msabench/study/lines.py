"""Where in a YAML file something stands."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

Place = tuple[str | int, ...]  # keys and numbers of items, from the file's top down


def line_of(tree: yaml.Node | None, place: Sequence[str | int]) -> int:
    """The line, from 1, on which the deepest part of `place` that is there begins. Parts that are none of the file
    (pydantic names which of several types it tried) are passed over."""
    line = 1
    for part in place:
        if isinstance(tree, yaml.MappingNode):
            found = [(key, value) for key, value in tree.value if key.value == str(part)]
            if found:
                line, tree = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(tree, yaml.SequenceNode) and isinstance(part, int) and part < len(tree.value):
            tree = tree.value[part]
            line = tree.start_mark.line + 1
    return line


def repeated(tree: yaml.Node | None) -> yaml.Node | None:
    """A key that a mapping has twice: YAML's reader would take the last and say nothing."""
    if isinstance(tree, yaml.MappingNode):
        seen = set()
        for key, value in tree.value:
            if key.value in seen:
                return key
            seen.add(key.value)
            if (inner := repeated(value)) is not None:
                return inner
    elif isinstance(tree, yaml.SequenceNode):
        return next((found for item in tree.value if (found := repeated(item)) is not None), None)
    return None
