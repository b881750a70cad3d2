"""Reads YAML with the line of every node, and forgives nothing that would change a meaning.

PyYAML's composer gives nodes with marks; data is made of them here. That way a key given twice
is seen, plain scalars follow YAML 1.2, and no tag can name anything of Python's.
"""

import re
from typing import Any

import yaml

from tokenproxy.config import scalars
from tokenproxy.config.document import MAX_DEPTH, Builder, Document, Unreadable, Where
from tokenproxy.config.yamlwords import explain

_PLAIN = "plain"  # the tag that a plain scalar without a tag gets here
_TEXT = "tag:yaml.org,2002:str"
_SEQUENCE = "tag:yaml.org,2002:seq"
_MAPPING = "tag:yaml.org,2002:map"
_MERGE = "<<"

# YAML 1.1 ends a line at these, YAML 1.2 and every editor do not: a comment would end in its
# middle, and all lines after it be miscounted.
_FOREIGN_BREAK = re.compile("[\x85\u2028\u2029]")
_BREAK = re.compile(r"\r\n?|\n")

Pairs = dict[str, tuple[yaml.Node, int]]


def read_yaml(text: str) -> Document:
    """The one document that `text` holds.

    Mistakes that do not hide others (a key given twice, a foreign tag) are in the document.

    Raises:
        Unreadable: it is no YAML, holds no document or several, or nests too deep.
    """
    _refuse_foreign_breaks(text)
    root = _compose(text)
    if root is None:
        raise Unreadable("is empty: see config.example.yaml for what belongs here")
    builder = Builder()
    return builder.document(_data(builder, (), root, _line(root)))


def _refuse_foreign_breaks(text: str) -> None:
    found = _FOREIGN_BREAK.search(text)
    if found is None:
        return
    number = ord(found[0])
    raise Unreadable(
        f"holds an invisible line break (U+{number:04X}): take it out, or write "
        f'"\\u{number:04x}" in double quotes',
        len(_BREAK.findall(text, 0, found.start())) + 1,
    )


class _Composer(yaml.SafeLoader):
    """PyYAML's own, bounded in depth, and with no opinion about plain scalars."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise Unreadable(f"nests deeper than {MAX_DEPTH} levels", self.line + 1)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(text: str) -> yaml.Node | None:
    try:
        return _Composer(text).get_single_node()
    except yaml.YAMLError as error:
        wrong = explain(error, text)
    except (ValueError, OverflowError):
        # PyYAML checks neither the size of `\UXXXXXXXX` nor the length of a %YAML version.
        wrong = Unreadable("is not valid YAML: a '\\U' escape or a '%YAML' line is wrong")
    raise wrong  # out here it takes no context along: PyYAML's words quote the file


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _data(builder: Builder, where: Where, node: yaml.Node, line: int) -> Any:
    builder.visit(where, line)
    match node:
        case yaml.MappingNode(tag=tag) if tag == _MAPPING:
            pairs = _pairs(builder, where, node)
            return {
                key: _data(builder, (*where, key), item, key_line)
                for key, (item, key_line) in pairs.items()
            }
        case yaml.SequenceNode(tag=tag) if tag == _SEQUENCE:
            return [
                _data(builder, (*where, index), item, _line(item))
                for index, item in enumerate(node.value)
            ]
        case yaml.ScalarNode(tag=tag) if tag in {_PLAIN, _TEXT}:
            return _scalar(builder, where, node)
        case _:
            builder.mistake(
                where, "begins with '!', which YAML takes for a tag: put the value in quotes"
            )
            return None


def _scalar(builder: Builder, where: Where, node: yaml.ScalarNode) -> scalars.Scalar:
    text: str = node.value
    if node.tag == _TEXT:
        return text
    try:
        return scalars.resolve(text)
    except ValueError as error:
        builder.mistake(where, str(error))
        return None


def _pairs(builder: Builder, where: Where, node: yaml.MappingNode) -> Pairs:
    """Every key once, with its value and line; its own keys win over merged ones."""
    own: Pairs = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in {_PLAIN, _TEXT}:
            builder.mistake(where, "has a key that is not plain text", _line(key))
        elif key.value in own:
            again = f"is given twice: the first is on line {own[key.value][1]}"
            builder.mistake((*where, key.value), again, _line(key))
        else:
            own[key.value] = (value, _line(key))
    if _MERGE not in own:
        return own
    source, line = own.pop(_MERGE)
    return {**_merged(builder, (*where, _MERGE), source, line), **own}


def _merged(builder: Builder, where: Where, node: yaml.Node, line: int) -> Pairs:
    sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
    found: Pairs = {}
    for source in sources:
        builder.visit((*where, len(builder.lines)), line)
        if isinstance(source, yaml.MappingNode):
            # What is wrong inside is reported once, where it is written.
            found = {**_pairs(Builder(builder.lines), where, source), **found}
        else:
            builder.mistake(where, "must name a mapping, as in '<<: *name'", line)
    return found
