"""The configuration: one settings class for each of its tables, and the file as a whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from useq import MDASequence

from stream.protocol import as_protocol, positions_um, read_protocol, times_ms
from stream.safety import DoseSettings, LimitSettings
from stream.settings import Settings, parse, read_toml

_FILES = ("cfg", "source")


class RunSettings(Settings):
    """[run] where results go and who must be ready before the camera starts."""

    name: str = "run"
    out: Path = Path("runs")
    seed: int = 0
    wait_for: tuple[str, ...] = ("analyse",)
    """Nodes that must report ready before the camera starts."""
    ready_timeout_s: float = Field(default=300.0, gt=0)
    """Time for that; the first start on a machine compiles for about a minute."""
    restart_limit: int = Field(default=5, ge=0)
    """How often the supervisor starts one node again within a minute."""


class CameraSettings(Settings):
    """[camera] which driver brings the frames; ``options`` belong to that driver and are checked by it."""

    driver: str = "virtual"
    name: str = ""
    """The camera's name in fields and topics; empty: the device's own label."""
    options: dict[str, Any] = Field(default_factory=dict)


class PlanSettings(Settings):
    """[plan] what the rig does when nobody asks for anything else."""

    protocol: MDASequence | None = None
    """A ``useq.MDASequence``, or in a configuration the file that holds one (YAML, JSON, TOML). With it the mode is
    ``mda``, and frames, interval, channels, positions and exposure are the protocol's; other values are errors."""
    mode: Literal["stream", "mda"] = "stream"
    interval_ms: float = Field(default=100.0, ge=0)
    exposure_ms: float = Field(default=10.0, gt=0)
    """Of every frame; with a protocol, of the channels that state none."""
    frames: int | None = Field(default=None, ge=1)
    """Time points to take; None: until stopped."""
    channels: tuple[str, ...] = ()
    positions_um: tuple[tuple[float, float, float], ...] = ()
    """Stage positions (x, y, z); empty: where the stage is, or as the protocol says where it leaves an axis open."""
    light_power: float | None = Field(default=None, ge=0, le=1)
    max_burst_ms: float | None = Field(default=None, gt=0)
    """The longest time that a hardware-sequenced burst keeps the core from commands; None: as [limits] says."""

    @field_validator("positions_um", mode="before")
    @classmethod
    def _of_three(cls, value: Any) -> Any:
        for place in value if isinstance(value, list | tuple) else ():
            if isinstance(place, list | tuple) and len(place) != 3:
                raise ValueError(f"a position is [x, y, z] in µm, the focus included, not {list(place)}")
        return value

    @field_validator("protocol", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, str | Path):
            return read_protocol(Path(value))
        return as_protocol(value, "[plan] protocol") if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _as_the_protocol_says(self) -> PlanSettings:
        if self.protocol is None:
            return self
        open_exposure = any(channel.exposure is None for channel in self.protocol.channels)
        for name, value in _planned(self.protocol).items():
            stated = getattr(self, name)
            if name == "exposure_ms" and open_exposure and name in self.model_fields_set:
                continue
            if name in self.model_fields_set and stated != value:
                raise ValueError(f"{name} = {stated!r} contradicts the protocol, which says {value!r}; leave it out")
            self.__dict__[name] = value
        return self


def _planned(sequence: MDASequence) -> dict[str, Any]:
    """Return what a protocol fixes of the plan."""
    times = times_ms(sequence)
    exposures = [channel.exposure for channel in sequence.channels if channel.exposure is not None]
    fixed: dict[str, Any] = {
        "mode": "mda",
        "frames": len(times),
        "channels": tuple(channel.config for channel in sequence.channels),
        "positions_um": positions_um(sequence),
    }
    if len(times) > 1:
        fixed["interval_ms"] = times[1] - times[0]
    if exposures:
        fixed["exposure_ms"] = exposures[0]
    return fixed


class ChainSettings(Settings):
    """[chain] the stages of the analysis and how they queue."""

    denoise: str = "auto"
    """An entry point, ``file.py:Name``, or ``none``. ``auto``: ``recursive`` where [record] or [watch] asks for
    denoised pixels or the segmenter looks at them (classical ones do, networks where ``segment_options`` say so)."""
    segment: str = "auto"
    track: str = "assignment"
    divide: str = "rule"
    segment_channel: str = ""
    """Empty: the first channel that arrives."""
    measure_channels: tuple[str, ...] = ()
    z: int | Literal["max", "mean"] = 0
    """The plane that is segmented, or a projection of ``planes`` planes."""
    planes: int = Field(default=1, ge=1)
    denoise_options: dict[str, Any] = Field(default_factory=dict)
    segment_options: dict[str, Any] = Field(default_factory=dict)
    track_options: dict[str, Any] = Field(default_factory=dict)
    divide_options: dict[str, Any] = Field(default_factory=dict)
    queue: int = Field(default=4, ge=1)
    """Frames that may wait before each stage."""
    overload: Literal["drop_oldest", "wait"] = "wait"
    """A full queue: ``drop_oldest`` loses the oldest whole frame before the first stage; ``wait`` holds it back."""
    deadline_ms: float | None = Field(default=None, gt=0)
    """A frame older than this before the first stage is dropped whole; None: never."""


class FeedbackSettings(Settings):
    """[feedback] policies, run in order."""

    policies: tuple[str, ...] = ()
    """Policy files (``.toml``), entry points, or ``file.py:Name``."""
    budget_ms: float = Field(default=50.0, gt=0)
    """Time a policy has for one event."""
    max_age_ms: float = Field(default=1_000.0, gt=0)
    """Age limit of a command whose wish names none."""


class RehearseSettings(Settings):
    """[rehearse] how ``cytoloop rehearse`` runs this configuration on the virtual microscope."""

    seconds: float = Field(default=30.0, ge=1)
    """How long each arm images."""
    seeds: int = Field(default=3, ge=1)
    """Specimens: 0, 1, 2, …"""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the virtual microscope, over those of ``[camera.options]``."""


class RecordSettings(Settings):
    """[record] what is kept."""

    cells: bool = True
    """Rows of the cells table in ``analysis.sqlite``."""
    labels: bool = False
    """Label images, tracks and events of each field in ``labels/FIELD``, in Cell Tracking Challenge form."""
    state: float = Field(default=0.01, ge=0, le=1)
    """The share of the time between two frames of a field that writing ``state/FIELD.state`` may take. Where it is kept
    up, an analysis that died goes on with its tracks, elsewhere it begins new ones; 0: never kept."""
    denoised: bool = False
    """Denoised pixels of every decided frame in ``denoised/FIELD/tNNNNNN.tif``, in counts of the camera's type."""


Port = Annotated[int, Field(ge=0, le=65_535)]
_HOST_PORT = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:\s]+):([0-9]{1,5})")


class WatchSettings(Settings):
    """[watch] metrics and the live page."""

    page: str = "127.0.0.1:8600"
    """Where the live page is served, as HOST:PORT; port 0: any free one. An IPv6 host is in brackets: ``[::1]:8600``.
    ``0.0.0.0`` lets the network read the page."""
    metrics: bool = True
    host: str = Field(default="127.0.0.1", min_length=1)
    acquire_port: Port = 0
    analyse_port: Port = 0
    watch_port: Port = 0
    """Ports of /metrics by node; 0: any free one."""
    jpeg_quality: int = Field(default=80, ge=10, le=100)
    max_fps: float = Field(default=15.0, gt=0)
    denoised: bool = False
    """Offer the denoised picture on the page, at most ``max_fps`` a second; the page has a button for it."""

    @field_validator("page")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        found = _HOST_PORT.fullmatch(value)
        if found is None or int(found[1]) > 65_535:
            raise ValueError("give HOST:PORT with a port of 0 to 65535, e.g. 127.0.0.1:8600 or [::1]:8600")
        return value

    @property
    def page_at(self) -> tuple[str, int]:
        """Host (an IPv6 address without its brackets) and port of the page."""
        host, _, port = self.page.rpartition(":")
        return host.strip("[]"), int(port)


class WireSettings(Settings):
    """[wire] where nodes meet. Port 0: the supervisor picks a free one for the whole run."""

    frames: str = "tcp://127.0.0.1:0"
    control: str = "tcp://127.0.0.1:0"
    results: str = "tcp://127.0.0.1:0"
    credits: int = Field(default=8, ge=1)
    heartbeat_ms: int = Field(default=200, gt=0)
    heartbeat_timeout_ms: int = Field(default=600, gt=0)


class Configuration(Settings):
    """The whole file."""

    run: RunSettings = RunSettings()
    camera: CameraSettings = CameraSettings()
    plan: PlanSettings = PlanSettings()
    limits: LimitSettings = LimitSettings()
    dose: DoseSettings = DoseSettings()
    chain: ChainSettings = ChainSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    rehearse: RehearseSettings = RehearseSettings()
    record: RecordSettings = RecordSettings()
    watch: WatchSettings = WatchSettings()
    wire: WireSettings = WireSettings()

    @model_validator(mode="after")
    def _denoised_by_something(self) -> Self:
        for table, asked in (("record", self.record.denoised), ("watch", self.watch.denoised)):
            if asked and self.chain.denoise == "none":
                raise ValueError(
                    f"[{table}] denoised = true, but [chain] denoise = 'none' makes no denoised pixels; "
                    "set it to 'recursive', 'wavelet' or 'network'"
                )
            if asked and self.chain.denoise == "auto":
                self.__dict__["chain"] = self.chain.model_copy(update={"denoise": "recursive"})
        return self


def load(path: Path) -> Configuration:
    """Read a TOML file; ``cfg`` and ``source`` in ``[camera.options]`` start at its folder.

    Raises
    ------
    ConfigError
        The file is missing, is no TOML, or says something unknown or impossible.
    """
    config = parse(Configuration, _with_protocol(read_toml(path), path), str(path))
    files = {key: config.camera.options[key] for key in _FILES if isinstance(config.camera.options.get(key), str)}
    options = config.camera.options | {key: str(path.parent.resolve() / file) for key, file in files.items()}
    return config.model_copy(update={"camera": config.camera.model_copy(update={"options": options})})


def _with_protocol(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """Put a protocol's file in place of its name, which starts at the configuration's folder."""
    plan = data.get("plan")
    if not isinstance(plan, dict) or not isinstance(plan.get("protocol"), str):
        return data
    return {**data, "plan": {**plan, "protocol": path.parent.resolve() / plan["protocol"]}}
