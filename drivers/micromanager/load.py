"""Makes a core with a configuration: the only place that knows where Micro-Manager lives."""

from __future__ import annotations

from pathlib import Path

from pymmcore_plus import CMMCorePlus, find_micromanager

from drivers.micromanager.calls import device_calls
from drivers.micromanager.options import MicroManagerOptions
from drivers.micromanager.unload import unload
from stream.errors import ConfigError, DriverError

_DEMO = "MMConfig_demo.cfg"


def load_core(options: MicroManagerOptions) -> CMMCorePlus:
    """Return a core that has loaded ``options.cfg`` with the adapters of ``options.adapters``.

    Raises
    ------
    ConfigError
        A file or folder is missing, or nothing says which configuration is meant.
    DriverError
        The configuration does not load.
    """
    folders = _adapter_folders(options)
    cfg = _configuration(options, folders)
    core = CMMCorePlus(mm_path=folders[0], adapter_paths=folders)
    # A user's own installation would win silently, so that the search path is pinned.
    core.setDeviceAdapterSearchPaths(folders)
    try:
        with device_calls(f"{cfg} with the device adapters in {', '.join(folders)}"):
            core.loadSystemConfiguration(cfg)
    except DriverError:
        unload(core)
        raise
    return core


def _adapter_folders(options: MicroManagerOptions) -> list[str]:
    for folder in options.adapters:
        if not folder.expanduser().is_dir():
            raise ConfigError(f"[camera.options] adapters: {folder}: no such folder")
    if options.adapters:
        return [str(folder.expanduser().resolve()) for folder in options.adapters]
    found = find_micromanager()
    if not found:
        raise DriverError(
            "no Micro-Manager was found; run 'mmcore install', name its folder in [camera.options] adapters, "
            "or 'pip install mm-test-adapters' for the demo camera"
        )
    return [found]


def _configuration(options: MicroManagerOptions, folders: list[str]) -> Path:
    if options.cfg is not None:
        cfg = options.cfg.expanduser()
        beside = Path(folders[0]) / cfg
        if cfg.is_file() or beside.is_file():
            return cfg.resolve() if cfg.is_file() else beside
        raise ConfigError(
            f"[camera.options] cfg: {options.cfg}: no such file (looked in {Path.cwd()} and {folders[0]}); "
            "write one with Micro-Manager's Hardware Configuration Wizard"
        )
    demo = Path(folders[0]) / _DEMO
    if demo.is_file() and (options.adapters or folders[0] == _test_adapters()):
        return demo
    raise ConfigError(
        f"[camera.options] cfg is missing and Micro-Manager is installed in {folders[0]}: name your configuration, "
        f"or cfg = '{_DEMO}' for its demo camera"
    )


def _test_adapters() -> str | None:
    try:
        import mm_test_adapters
    except ImportError:
        return None
    return str(mm_test_adapters.device_adapter_path())
