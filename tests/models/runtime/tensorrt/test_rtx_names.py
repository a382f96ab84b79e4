"""Every name of TensorRT and of CUDA that we use exists in bindings that can be installed.

``tensorrt-rtx`` installs everywhere and has the names of TensorRT 11; those that only one of the two has are listed,
and may be used only where the code knows which one it has.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[4] / "models" / "runtime" / "tensorrt"
FILES = sorted(FOLDER.glob("*.py"))
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "layer": "ILayer",
    "tensor": "ITensor",
    "runtime": "Runtime",
    "loaded": "ICudaEngine",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "runtime_config": "IRuntimeConfig",
    "runtime_cache": "IRuntimeCache",
    "inspector": "EngineInspector",
}
"""What our variables hold; a variable of another kind must have another name in these files."""
OURS = {("profile", "items")}
"""A profile of ours is a mapping."""
RTX_ALONE = {
    "ComputeCapability",
    "BuilderFlag.REQUIRE_USER_ALLOCATION",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "IExecutionContext.is_stream_capturable",
    "IRuntimeCache.deserialize",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.set_runtime_cache",
}
"""Names that TensorRT 11 need not have: ``bindings.py`` alone uses them, past ``if not self.rtx: return``."""


def chain(node: ast.expr) -> list[str]:
    """Return ``["trt", "BuilderFlag", "TF32"]`` for ``self.trt.BuilderFlag.TF32``; empty for other expressions."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    names = [node.id, *names] if isinstance(node, ast.Name) else []
    return names[names.index("trt") :] if "trt" in names else names


def used(file: Path) -> set[str]:
    """Return what a file uses of the bindings, as ``Class.attribute`` or ``Enum.MEMBER``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        words = chain(node)
        if words[:1] == ["trt"] and len(words) > 1:
            names.add(".".join(words[1:]))
        elif len(words) > 1 and words[-2] in CLASSES and (words[-2], words[-1]) not in OURS:
            names.add(f"{CLASSES[words[-2]]}.{words[-1]}")
    return {name for name in names if not name.startswith("__")}


def used_of_cuda() -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse((FOLDER / "cuda.py").read_text())):
        if isinstance(node, ast.Attribute):
            words = chain(node)
            words = words[1:] if words[:1] == ["self"] else words
            if words[:1] in (["_cudart"], ["cudart"]) and len(words) > 1:
                found.add(".".join(words[1:]))
    return found


def missing(module: object, names: set[str]) -> list[str]:
    def there(name: str) -> bool:
        at = module
        for word in name.split("."):
            if not hasattr(at, word):
                return False
            at = getattr(at, word)
        return True

    return sorted(name for name in names if not there(name))


def test_the_walk_finds_what_is_known_to_be_used() -> None:
    everything = set().union(*(used(file) for file in FILES))
    assert {
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "IBuilderConfig.set_compute_capability",
        "Builder.build_serialized_network",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
    } <= everything
    assert len(everything) > 45
    assert {"cudaMemcpyKind.cudaMemcpyHostToDevice", "cudaGraphLaunch", "cudaMallocNot"} - used_of_cuda() == {
        "cudaMallocNot"
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_name_exists_in_tensorrt_rtx(file: Path) -> None:
    assert missing(pytest.importorskip("tensorrt_rtx"), used(file)) == []


def test_every_name_exists_in_tensorrt_11_but_those_that_rtx_has_alone() -> None:
    trt = pytest.importorskip("tensorrt", reason="TensorRT 11 is not installed: its wheels fetch from elsewhere")
    assert missing(trt, set().union(*(used(file) for file in FILES)) - RTX_ALONE) == []


def test_what_rtx_has_alone_is_used_where_the_code_knows_which_one_it_has() -> None:
    assert {file.name for file in FILES if used(file) & RTX_ALONE} == {"bindings.py"}
    assert set().union(*(used(file) for file in FILES)) >= RTX_ALONE


def test_every_name_exists_in_the_cuda_bindings() -> None:
    pytest.importorskip("cuda.bindings")
    assert missing(importlib.import_module("cuda.bindings.runtime"), used_of_cuda()) == []
