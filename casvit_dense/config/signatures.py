"""What the classes that a config names take, read from their own source.

A class whose ``__init__`` passes ``**kwargs`` on to its parent takes the parent's arguments, too. A
class that does anything else with them takes what nobody can know from outside: it is open.
"""

import ast
import inspect
import sys
import textwrap
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, NamedTuple

from torch import Tensor, nn

#: An annotation or a default that is not there.
EMPTY: Final = inspect.Parameter.empty

#: Methods of a dict, which are no keys of it.
DICT_METHODS: Final = frozenset(dir(dict)) | {"to_dict"}
#: Methods whose first argument is a key.
READING: Final = ("get", "pop", "setdefault", "__getitem__")


class Argument(NamedTuple):
    """Type and default of an argument; `EMPTY` where it has none."""

    annotation: Any
    default: Any


class Signature(NamedTuple):
    """What a class or function takes by name; an open one takes others, which are not known."""

    arguments: Mapping[str, Argument]
    open: bool


@cache
def signature_of(kind: Callable) -> Signature:
    """What a class or a function takes by keyword, its parents' arguments included."""
    if not inspect.isclass(kind):
        return Signature(*_own(kind)[:2])
    found: dict[str, Argument] = {}
    return Signature(found, _collect(list(kind.__mro__), found, set()))


def _collect(rest: list[type], found: dict[str, Argument], passed: set[str]) -> bool:
    """Adds the arguments of the first ``__init__`` in ``rest``, and of those it calls.

    Args:
        rest: of the method resolution order of the class that is built.
        passed: arguments that a child gives itself.

    Returns:
        Whether more are taken, which cannot be followed.
    """
    while rest and "__init__" not in vars(rest[0]):
        rest = rest[1:]
    if not rest or rest[0] in (object, nn.Module):
        return False
    init = vars(rest[0])["__init__"]
    own, collects, name = _own(init)
    for key, argument in own.items():
        if key not in passed:
            found.setdefault(key, argument)
    if not collects:
        return False
    calls, keys = _uses(init, name)
    found.update({key: Argument(EMPTY, None) for key in keys or ()})
    if keys is None or not (calls or keys):
        return True
    is_open = False
    for call in calls:
        parents = _called(call, rest)
        if parents is None:
            return True
        given = {word.arg for word in call.keywords if word.arg is not None}
        is_open |= _collect(parents, found, passed | given)
    return is_open


def _own(function: Callable) -> tuple[dict[str, Argument], bool, str]:
    """A function's own arguments, whether it collects others, and under which name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return {}, True, ""
    try:
        hints = typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # names that are imported for type checkers alone
        hints = {}
    found = {old: Argument(EMPTY, None) for old in _renamed(function)}
    collects, name = False, ""
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            collects, name = True, parameter.name
        elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name != "self":
            annotation = hints.get(parameter.name, parameter.annotation)
            found[parameter.name] = Argument(annotation, parameter.default)
    return found, collects, name


def _renamed(function: Callable) -> Iterator[str]:
    """The older names that mmengine's ``deprecated_api_warning`` lets a function take."""
    while hasattr(function, "__wrapped__"):
        yield from inspect.getclosurevars(function).nonlocals.get("name_dict", ())
        function = function.__wrapped__


def _uses(init: Callable, name: str) -> tuple[list[ast.Call], set[str] | None]:
    """The calls of another ``__init__`` that get ``**name``, and the keys that are taken from it.

    The keys are None where it is also used in another way.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(init))))
    except (OSError, TypeError, SyntaxError):
        return [], None
    calls, keys, followed = [], set(), 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            star = [w for w in node.keywords if w.arg is None and _is_name(w.value, name)]
            if node.func.attr == "__init__" and star:
                calls.append(node)
                followed += 1
        for base, key in _reads(node):
            if _is_name(base, name):
                keys.add(key)
                followed += 1
    used = sum(_is_name(node, name) for node in ast.walk(tree))
    return calls, keys if used == followed else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _called(call: ast.Call, rest: list[type]) -> list[type] | None:
    """The classes among which a call of ``….__init__`` finds its method; None: unknown."""
    target = typing.cast(ast.Attribute, call.func).value
    names = vars(sys.modules[rest[0].__module__])
    if isinstance(target, ast.Call) and _is_name(target.func, "super"):
        after: Any = rest[0]
        if target.args and isinstance(target.args[0], ast.Name):
            after = names.get(target.args[0].id, after)
        return rest[rest.index(after) + 1 :] if after in rest else None
    after = names.get(target.id) if isinstance(target, ast.Name) else None
    return rest[rest.index(after) :] if after in rest else None


def _reads(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Where a node reads a constant key: of what, and which."""
    if isinstance(node, ast.Attribute) and node.attr not in DICT_METHODS:
        yield node.value, node.attr
    elif isinstance(node, ast.Subscript):
        yield from ((node.value, key) for key in _texts([node.slice]))
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        yield from ((node.comparators[0], key) for key in _texts([node.left]))
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in READING:
            yield from ((node.func.value, key) for key in _texts(node.args[:1]))
        elif isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            yield from ((node.args[0], key) for key in _texts(node.args[1:2]))


def _texts(nodes: Iterable[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@cache
def keys_read(module: str) -> Mapping[str, frozenset[str]]:
    """The constant keys that a module reads, by the names of what it reads them from.

    ``self.test_cfg.rcnn.nms`` and ``test_cfg['rcnn'].get('nms')`` give ``nms`` under ``test_cfg``
    and ``rcnn``, and ``rcnn`` under ``test_cfg``.
    """
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        for base, key in _reads(node):
            for name in _names(base):
                found[name.lstrip("_")].add(key)
    return {name: frozenset(keys) for name, keys in found.items()}


def _names(node: ast.expr) -> Iterator[str]:
    """The names of a chain such as ``self.cfg['rcnn'].nms``."""
    if isinstance(node, ast.Name):
        yield node.id
    for base, key in _reads(node):
        yield key
        yield from _names(base)


# ---- kinds of values


#: Kind of a value in a config -> what people call it.
KINDS: Final = {
    "number": "a number",
    "bool": "True or False",
    "str": "a text",
    "list": "a list",
    "dict": "a dict",
}
#: A number often stands for a list of equal ones, and one part for several: annotations of mmdet
#: and mmseg name one of them.
_ALSO: Final = {
    "number": {"list"},
    "list": {"number", "parts"},
    "bool": {"number"},
    "dict": {"parts"},
}


#: Classes of values, and their kinds, the first that fits.
_KINDS: Final = (
    (bool, "bool"),
    ((int, float), "number"),
    (str, "str"),
    (Mapping, "dict"),
    ((list, tuple, set), "list"),
)


def admits(annotation: Any, value: Any) -> bool:
    """Whether a type may mean a value of a config; True where that cannot be known."""
    kinds = kinds_of(annotation)
    kind = kind_of(value)
    if kinds is None or kind not in (*KINDS, "parts"):
        return True
    return kind in kinds or any(kind in _ALSO.get(other, ()) for other in kinds)


def kinds_of(annotation: Any) -> frozenset[str] | None:
    """The kinds of values that a type names; None where any may be meant."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, UnionType):
        parts = [kinds_of(part) for part in typing.get_args(annotation) if part is not Tensor]
        return None if None in parts else frozenset().union(*filter(None, parts))
    if origin is Literal:
        return frozenset(map(kind_of, typing.get_args(annotation)))
    kind = origin or annotation
    if kind is type(None):
        return frozenset()
    if kind in (Sequence, Iterable):
        return frozenset({"list"})
    if not inspect.isclass(kind) or kind in (object, EMPTY):
        return None
    found = next((name for base, name in _KINDS if issubclass(kind, base)), None)
    return frozenset({found}) if found else None


def kind_of(value: Any) -> str:
    """The kind of a value in a config: of `KINDS`, ``parts`` for a list of dicts, or another."""
    kind = next((name for base, name in _KINDS if isinstance(value, base)), type(value).__name__)
    holds_dicts = kind == "list" and value and all(isinstance(v, Mapping) for v in value)
    return "parts" if holds_dicts else kind
