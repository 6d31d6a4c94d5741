"""Front matter, YAML or TOML at the head of a file: its scalars as written, parsed in bounded work."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

LENGTH_MAX: Final = 65_536  # characters of the block; a longer block is skipped unread
_DEPTH_MAX: Final = 64  # of collections; libyaml's work grows with length times depth
_NULLS: Final = ("", "~", "null", "Null", "NULL")  # YAML 1.2.2, section 10.3.2
_LINE_END: Final = r"[ \t]*(?:\r\n?|\n|\Z)"
_OPENING = re.compile(rf"(---|\+\+\+){_LINE_END}")
_CLOSING = {
    "---": re.compile(rf"(?<=[\r\n])(?:---|\.\.\.){_LINE_END}"),
    "+++": re.compile(rf"(?<=[\r\n])\+\+\+{_LINE_END}"),
}
_TOML_BARE = re.compile(r"^[ \t]*[\"']?([\w-]+)[\"']?[ \t]*=[ \t]*([^#\r\n]*)", re.MULTILINE)
# YAML 1.2 has these as characters (section 5.4), PyYAML, which reads 1.1, as line breaks.
_YAML_11_BREAKS = str.maketrans(dict.fromkeys("\x85\u2028\u2029", " "))


@dataclass(frozen=True)
class FrontMatter:
    """The block's top-level scalars by key, without nulls; end is the offset of the text after it."""

    scalars: Mapping[str, str]
    end: int


def front_matter(text: str) -> FrontMatter | None:
    """
    Return the front matter that the text begins with, or None.

    YAML is delimited by lines of "---" (the last may be "..."), TOML by lines of "+++". A block that
    is valid YAML but not a mapping is Markdown between two thematic breaks. A block that is
    malformed, too long or too deep has no scalars.
    """
    opening = _OPENING.match(text)
    closing = opening and _CLOSING[opening.group(1)].search(text, opening.end())
    if not opening or not closing:
        return None
    block = text[opening.end() : closing.start()]
    if len(block) > LENGTH_MAX:
        return FrontMatter({}, closing.end())
    scalars = _yaml_scalars(block) if opening.group(1) == "---" else _toml_scalars(block)
    return None if scalars is None else FrontMatter(scalars, closing.end())


def _yaml_scalars(block: str) -> dict[str, str] | None:
    """
    Return the scalars of the top-level mapping, None if there is no such mapping.

    From the events of the parser: nothing is constructed, so nothing is converted, and neither an
    alias nor a merge key is expanded. An alias of a scalar has the scalar's text.
    """
    scalars: dict[str, str] = {}
    is_mapping = False
    try:
        nodes = _top_level_nodes(block)
        is_mapping = isinstance(next(nodes, None), yaml.MappingStartEvent)
        if not is_mapping:
            return None
        for key, value in zip(nodes, nodes, strict=False):
            if isinstance(key, yaml.ScalarEvent) and isinstance(value, yaml.ScalarEvent):
                is_null = value.implicit[0] and value.value in _NULLS
                scalars[key.value] = "" if is_null else value.value
    except yaml.YAMLError:
        return {} if is_mapping else None
    return {key: text for key, text in scalars.items() if text}


def _top_level_nodes(block: str) -> Iterator[yaml.Event | None]:
    """Yield the root node's first event, then that of each of its children; None for an alias of no scalar."""
    depth = 0
    anchors: dict[str, yaml.ScalarEvent] = {}
    for event in yaml.parse(block.translate(_YAML_11_BREAKS), Loader=yaml.CBaseLoader):
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            anchors[event.anchor] = event
        if isinstance(event, yaml.NodeEvent) and depth <= 1:
            is_alias = isinstance(event, yaml.AliasEvent)
            yield anchors.get(event.anchor or "") if is_alias else event
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEPTH_MAX:
            raise yaml.YAMLError(f"more than {_DEPTH_MAX} levels")


def _toml_scalars(block: str) -> dict[str, str]:
    try:
        table = tomllib.loads(block)
    except (ValueError, RecursionError):  # ValueError: TOMLDecodeError, and integers of many digits
        return {}
    written = dict(reversed(_TOML_BARE.findall(block)))  # the first is the top level's
    return {
        key: value if isinstance(value, str) else written.get(key, "").strip()
        for key, value in table.items()
        if not isinstance(value, dict | list)
    }
