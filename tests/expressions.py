"""
Every regular expression of the project, on 100 000 of each character that may be awkward for it.

Run by tests/test_expressions.py within a deadline: `python -m tests.expressions`. Each is named
before it is tried, so the last line names the expression that does not end.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from itertools import permutations
from types import ModuleType

import django

from config.stack import ROOT

_FOLDERS = ("config", "cachelayer", "notes", "profiles", "activity", "loadtests")
_METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
_LENGTH = 100_000
_PAIRED_LENGTH = 5_000
_AWKWARD = "#*_`[]()<>!\\&-+=~|:\"' \t\n\ra1/?0.,;$%@{}eE\u00a0\u0131é"
_PAIRED = "\"' -a1/*(,"
# Beginnings whose end is searched for, one after the other; and what goes before many spaces.
_BEGINNINGS = ("/*", "$a$ ", "%s,", "a-", "W/", "\r\n", "--\n", "e'", "%(")
_BEFORE_SPACES = ("# a", "a", "'", '"', "(%s", "LIMIT", "1")


def expressions() -> Iterator[tuple[str, re.Pattern[str], str]]:
    """Yield where each stands, the expression, and the method that it is used by."""
    for folder in _FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            calls = [node for node in ast.walk(tree) if _is_expression(node)]
            if calls and "migrations" not in path.parts:
                name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                module = importlib.import_module(name)
                for call in calls:
                    yield from _of_call(call, tree, module)


def _is_expression(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    return name.startswith("re.") and name[3:] in (*_METHODS, "compile")


def _of_call(
    call: ast.Call, tree: ast.Module, module: ModuleType
) -> Iterator[tuple[str, re.Pattern[str], str]]:
    where = f"{module.__name__}:{call.lineno}"
    method = ast.unparse(call.func)[3:]
    flags = 0
    for argument in [*call.args[1:], *(keyword.value for keyword in call.keywords)]:
        if ast.unparse(argument).startswith("re."):
            flags = eval(ast.unparse(argument), vars(module))
    try:  # in the names of its module
        pattern = eval(ast.unparse(call.args[0]), vars(module))
    except NameError:
        return  # made of a function's own names, by no user
    if isinstance(pattern, str):
        compiled = re.compile(pattern, flags)
        methods = [method] if method != "compile" else _methods_of(call, tree)
        yield from ((where, compiled, each) for each in methods)


def _methods_of(call: ast.Call, tree: ast.Module) -> list[str]:
    """Return by which methods of the pattern the module uses what it compiles here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and call in ast.walk(node):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            uses = re.compile(rf"\b{ast.unparse(target)}(?:\[.+?\])?\.({'|'.join(_METHODS)})\(")
            methods = sorted(set(uses.findall(ast.unparse(tree))))
            if methods:
                return methods
    return ["search"]


def _try(pattern: re.Pattern[str], method: str, text: str) -> None:
    if method in ("sub", "subn"):
        pattern.sub("", text)
    elif method == "finditer":
        list(pattern.finditer(text))
    else:
        getattr(pattern, method)(text)


def main() -> None:
    django.setup()
    texts = [character * _LENGTH for character in _AWKWARD]
    texts += ["".join(pair) * _PAIRED_LENGTH for pair in permutations(_PAIRED, 2)]
    texts += [unit * (_LENGTH // len(unit)) for unit in _BEGINNINGS]
    texts += [before + " " * _LENGTH for before in _BEFORE_SPACES]
    tried = set()
    for where, pattern, method in expressions():
        print(where, method, repr(pattern.pattern)[:80], flush=True)
        if (pattern, method) not in tried:
            tried.add((pattern, method))
            for text in texts:
                _try(pattern, method, f"{text}\0")  # the end fits nothing
    print("All end.")


if __name__ == "__main__":
    main()
