"""No module of the package imports itself by way of others, those that functions import included."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from lightning_tx.core.package import PACKAGE


def modules(package: Path) -> dict[str, str]:
    """The source of every module of a package by its dotted name; templates are the user's."""
    found = {}
    for path in package.rglob("*.py"):
        if "templates" not in path.parts:
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
            found[name] = path.read_text(encoding="utf-8")
    return found


def imported(node: ast.AST) -> Iterator[str]:
    """What a file imports anywhere, each name with its module; what is for the type checker alone is left out."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        for child in node.orelse:
            yield from imported(child)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports: a name that is no module stands for the one it is imported from."""
    edges: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = set(imported(ast.parse(source)))
        edges[module] = {name if name in sources else name.rpartition(".")[0] for name in names} & sources.keys()
    return edges


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Modules of which each imports the next and the last the first; empty where there are none."""
    left = {module: set(others) for module, others in edges.items()}
    while free := {module for module, others in left.items() if not others}:
        left = {module: others - free for module, others in left.items() if module not in free}
    way: list[str] = []
    module = min(left, default=None)
    while module is not None and module not in way:
        way.append(module)
        module = min(left[module])
    return way[way.index(module) :] if module is not None else []


def test_a_circle_is_seen_and_a_type_is_not() -> None:
    lazy = "def f():\n    from p.b import g"
    assert circle(graph({"p.a": lazy, "p.b": "import p.c", "p.c": "from p import a"})) == ["p.a", "p.b", "p.c"]
    assert circle(graph({"p.a": lazy, "p.b": "import p.c", "p.c": ""})) == []
    typed = "if TYPE_CHECKING:\n    from p.a import A"
    assert circle(graph({"p.a": "import p.b", "p.b": typed})) == []
    assert circle(graph({"p.a": "import p.b", "p.b": typed + "\nelse:\n    import p.a"})) == ["p.a", "p.b"]


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = graph(modules(PACKAGE))
    assert "lightning_tx.core.errors" in edges["lightning_tx.core.group"]
    assert circle(edges) == []
