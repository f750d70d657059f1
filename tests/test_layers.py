"""Data flows one way: a module imports only what stands left of its own layer."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("event", "errors", "outcomes", "clock", "meter", "links", "config", "manifest", "destination"),
    ("receive", "normalise", "enrich", "consent", "mapping"),
    ("queue",),
    ("deliver", "observe"),
    ("lab", "app", "cli"),
)
DESTINATIONS_MAY_IMPORT = {"gateway.destination", "gateway.event"}


def layer_of(module: str) -> int:
    """The number of the layer of `gateway.<module>…`; what is in no list is wiring and belongs to the last."""
    return next((n for n, names in enumerate(LAYERS) if module in names), len(LAYERS) - 1)


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules("gateway"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_from_layers_left_of_it(path: Path) -> None:
    own = path.relative_to(ROOT / "gateway").parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for imported in sorted(imports_of(path)):
        if not imported.startswith("gateway."):
            assert not imported.startswith("destinations"), f"{path.name} imports a vendor by name"
            continue
        other = imported.split(".")[1]
        assert other == own or layer_of(other) <= layer_of(own), f"{path.name} imports {imported}, which stands right of it"


@pytest.mark.parametrize("path", modules("destinations"), ids=lambda path: path.name)
def test_a_vendor_imports_only_the_destination_api(path: Path) -> None:
    ours = {name for name in imports_of(path) if name.startswith("gateway")}
    assert ours <= DESTINATIONS_MAY_IMPORT


def test_the_queue_and_its_neighbours_are_not_imported_by_earlier_stages() -> None:
    for stage in LAYERS[0] + LAYERS[1]:
        for path in [*(ROOT / "gateway" / stage).rglob("*.py"), *(ROOT / "gateway").glob(f"{stage}.py")]:
            assert not any(name.startswith(("gateway.queue", "gateway.deliver")) for name in imports_of(path)), path
