"""The two TensorRTs behind one face: which module is imported, and all that differs between them.

TensorRT 11 and TensorRT-RTX have nearly the same Python API. What differs, and is decided here and nowhere else:

=====================  =====================================  ===============================================
                       TensorRT 11 (``tensorrt``)             TensorRT-RTX (``tensorrt_rtx``)
=====================  =====================================  ===============================================
an engine is made for  the GPU that builds it                 the compute capabilities that are named, no GPU
kernels are compiled   when the engine is built               when a context is made; kept in a runtime cache
GPUs                   every one of the CUDA that it is for   those whose name :class:`ComputeCapability` has
stream capture         always                                 engines built with ``REQUIRE_USER_ALLOCATION``
``STRONGLY_TYPED``     always on; the flag is ignored         must be asked for
=====================  =====================================  ===============================================

Both know one logger for a whole process: a second one is ignored without an error. So there is one here for each
module, and who wants to know what was said listens to it for a while.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from stream.errors import RuntimeUnavailable, StageError

Flavour = Literal["tensorrt", "tensorrt-rtx"]
FLAVOURS: tuple[Flavour, ...] = get_args(Flavour)
MODULES: dict[str, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
OLDEST = 11
"""Major version of TensorRT from which networks are strongly typed and the names used here exist."""


@dataclass(frozen=True, slots=True)
class Said:
    """What TensorRT said while somebody listened."""

    errors: list[str]
    warnings: list[str]

    def reason(self) -> str:
        """Return the errors, or else the warnings, as one line."""
        return "; ".join(self.errors or self.warnings) or "it gave no reason"


class Bindings:
    """One of the two modules.

    Attributes
    ----------
    trt
        The module itself.
    flavour
        ``"tensorrt"`` or ``"tensorrt-rtx"``.
    version
        As the module says.
    logger
        The one logger of this process.
    """

    def __init__(self, flavour: Flavour, trt: Any) -> None:
        self.trt, self.flavour = trt, flavour
        self.version = str(trt.__version__)
        self._listeners: list[Said] = []
        self._lock = threading.Lock()
        self.logger = self._collector()

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.flavour == "tensorrt-rtx"

    def serves(self, capability: str) -> bool:
        """Say whether engines can be made for a GPU of compute capability ``"8.6"``."""
        trt = self.trt
        return not self.rtx or hasattr(trt.ComputeCapability, _sm(capability))

    @contextmanager
    def listening(self) -> Iterator[Said]:
        """Collect what is said, by any thread, until the end of the block."""
        said = Said([], [])
        with self._lock:
            self._listeners.append(said)
        try:
            yield said
        finally:
            with self._lock:
                self._listeners[:] = [s for s in self._listeners if s is not said]

    def target(self, config: Any, capabilities: Sequence[str]) -> None:
        """Aim a build at compute capabilities. Raises StageError where one cannot be."""
        trt = self.trt
        if not self.rtx:
            return
        config.num_compute_capabilities = len(capabilities)
        for place, capability in enumerate(capabilities):
            if not self.serves(capability):
                raise StageError(f"TensorRT-RTX {self.version} makes no engines for compute capability {capability}")
            if not config.set_compute_capability(getattr(trt.ComputeCapability, _sm(capability)), place):
                raise StageError(f"TensorRT-RTX {self.version} refuses compute capability {capability}")
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)

    def runtime_config(self, engine: Any, kernels: bytes) -> tuple[Any, Any]:
        """Return how contexts are made, and the cache of kernels (None with TensorRT 11).

        ``kernels`` is what an earlier run's cache held; one that does not fit is left out, and compiled anew.
        """
        trt = self.trt
        runtime_config = engine.create_runtime_config()
        if runtime_config is None:
            raise StageError(f"{self.flavour}: no runtime configuration for this engine")
        runtime_config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if not self.rtx:
            return runtime_config, None
        runtime_config.dynamic_shapes_kernel_specialization_strategy = (
            trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        runtime_cache = runtime_config.create_runtime_cache()
        if kernels:
            runtime_cache.deserialize(kernels)
        if not runtime_config.set_runtime_cache(runtime_cache):
            raise StageError("tensorrt-rtx: the cache of kernels was not taken")
        return runtime_config, runtime_cache

    def capturable(self, context: Any, stream: int) -> bool:
        """Say whether the work of a context can become a CUDA graph."""
        return not self.rtx or bool(context.is_stream_capturable(stream))

    def _collector(self) -> Any:
        """Return a logger that hands errors and warnings to those who listen."""
        trt, hear = self.trt, self._hear
        worst = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)

        class Collector(trt.ILogger):  # type: ignore[name-defined, misc]
            """Hears everything, keeps what matters."""

            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                """Called by TensorRT, from any thread."""
                if severity in worst or severity == trt.ILogger.WARNING:
                    hear(severity in worst, message)

        return Collector()

    def _hear(self, error: bool, message: str) -> None:
        with self._lock:
            for said in self._listeners:
                (said.errors if error else said.warnings).append(" ".join(message.split()))


def _sm(capability: str) -> str:
    return "SM" + capability.replace(".", "")


@cache
def load(flavour: str) -> Bindings:
    """Import one of the two. Raises RuntimeUnavailable that says what to install."""
    if flavour not in MODULES:
        raise RuntimeUnavailable(f"no TensorRT is called '{flavour}'; there are {', '.join(FLAVOURS)}")
    extra = "rtx" if flavour == "tensorrt-rtx" else "tensorrt"
    try:
        trt = importlib.import_module(MODULES[flavour])
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeUnavailable(f"{flavour} is not installed ({error}); pip install 'cytoloop[{extra}]'") from error
    if flavour == "tensorrt" and int(str(trt.__version__).split(".")[0]) < OLDEST:
        raise RuntimeUnavailable(f"tensorrt {trt.__version__} is too old: {OLDEST} or newer is needed")
    return Bindings("tensorrt-rtx" if flavour == "tensorrt-rtx" else "tensorrt", trt)
