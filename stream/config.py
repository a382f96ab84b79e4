"""Configuration: TOML becomes checked, frozen settings. An unknown key is an error that names the nearest known one."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from useq import MDASequence

from stream.command import ACTION_KINDS
from stream.errors import ConfigError
from stream.protocol import as_protocol, positions_um, read_protocol, times_ms

Model = TypeVar("Model", bound=BaseModel)
_FILES = ("cfg", "source")


class Settings(BaseModel):
    """A table of the configuration: frozen, strict about keys; drivers and stages derive their own options from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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


Box = tuple[float, float, float, float]
"""A rectangle of the stage in µm: x from, x to, y from, y to."""


def _kinds(names: Iterable[str], also: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a kind of command that there is not; name the nearest."""
    for name in names:
        if name not in ACTION_KINDS and name not in also:
            near = difflib.get_close_matches(name, (*ACTION_KINDS, *also), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "known: " + ", ".join((*ACTION_KINDS, *also))
            raise ValueError(f"no command is called '{name}'; {hint}")


class LimitSettings(Settings):
    """[limits] what feedback may do; checked at the rig. An absent limit allows what the hardware allows."""

    allow: tuple[str, ...] | None = None
    """Command kinds that feedback may send; None: all."""
    exposure_ms: tuple[float, float] = (0.01, 10_000.0)
    max_burst_ms: float = Field(default=2_000.0, gt=0)
    """The longest time that a hardware-sequenced burst keeps the core from commands; longer ones are taken in parts."""
    interval_ms: tuple[float, float] = (0.0, 3_600_000.0)
    light_power: tuple[float, float] = (0.0, 1.0)
    stimulate_ms: tuple[float, float] = (0.0, 10_000.0)
    """How long one command may stimulate."""
    x_um: tuple[float, float] | None = None
    y_um: tuple[float, float] | None = None
    z_um: tuple[float, float] | None = None
    forbidden_um: tuple[Box, ...] = ()
    """Places, as ``[x0, x1, y0, y1]``, where the stage may neither stand nor pass on its straight way."""
    max_move_um: float | None = Field(default=None, gt=0)
    """The longest move of one command."""
    max_positions: int = Field(default=100, ge=1)
    """Positions that the plan may have with those that commands add."""
    max_frames: int = Field(default=1_000, ge=1)
    """Frames that one ``acquire`` may take."""
    max_acquire_ms: float = Field(default=600_000.0, gt=0)
    """How long one ``acquire`` may take."""
    max_acquire_light_ms: float | None = Field(default=None, gt=0)
    """The most light of one ``acquire``, in ms at full power."""
    max_age_ms: float = Field(default=2_000.0, gt=0)
    """The oldest data that feedback may act on, whatever the command says."""
    rate_per_s: float = Field(default=20.0, gt=0)
    """Commands of feedback a second, over the last second."""
    rates_per_s: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """The same for single kinds; below 1 it is one command in so many seconds: ``recentre = 0.5``."""
    cooldown_s: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Time that must pass between two commands of a kind: ``acquire = 60``."""
    approve: tuple[str, ...] = ()
    """Kinds of feedback that wait for an operator's word; ``all``: every kind."""
    approve_timeout_s: float = Field(default=60.0, gt=0)
    """No answer within this time means no."""
    approved_max_age_ms: float | None = Field(default=None, gt=0)
    """Age limit of the data behind a command that an operator approved; None: as for every other command."""
    shadow: bool = False
    """Receive, check, record and answer everything that feedback asks for, and apply none of it."""
    alive_timeout_s: float = Field(default=2.0, gt=0)
    """Without a decision, or a sign of life, for so long the analysis counts as lost."""
    when_lost: Literal["base", "stop", "pause"] = "base"
    """What the rig does then, once the light is closed: go back to its base plan, end the run, or wait in the dark."""

    @field_validator("allow")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        _kinds(value or ())
        return value

    @field_validator("approve")
    @classmethod
    def _known_or_all(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _kinds(value, ("all",))
        return value

    @field_validator("rates_per_s", "cooldown_s")
    @classmethod
    def _known_keys_only(cls, value: dict[str, float]) -> dict[str, float]:
        _kinds(value)
        return value

    @field_validator("forbidden_um")
    @classmethod
    def _rectangles(cls, value: tuple[Box, ...]) -> tuple[Box, ...]:
        for x0, x1, y0, y1 in value:
            if x0 >= x1 or y0 >= y1:
                raise ValueError(
                    f"a forbidden zone is [x0, x1, y0, y1] with x0 < x1 and y0 < y1, not {(x0, x1, y0, y1)}"
                )
        return value

    @field_validator("exposure_ms", "interval_ms", "light_power", "stimulate_ms", "x_um", "y_um", "z_um")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] > value[1]:
            raise ValueError(f"the lower limit {value[0]:g} is above the upper one {value[1]:g}")
        return value


class DoseSettings(Settings):
    """[dose] what light costs, and how much of it a field may have. Without ``mw_per_mm2`` the dose has no unit.

    Budgets are per field and over the whole run, restarts included. ``*_full_power_s`` count seconds of exposure at
    full power and need no calibration; of two budgets the one that is reached first holds.
    """

    mw_per_mm2: float | None = Field(default=None, gt=0)
    """Irradiance at the sample at full power."""
    photons_per_s_um2: float | None = Field(default=None, gt=0)
    """Photons a second and µm² at the sample at full power, where that is what was measured."""
    between_frames: Literal["auto", "lit", "dark"] = "auto"
    """Whether the light is on between frames of a stream: ``dark`` where the camera triggers it. ``auto``: as the rig
    says of its shutter, which stays open while a camera streams."""
    stimulate_power: float = Field(default=1.0, ge=0, le=1)
    """What the modulator's light counts as, as a fraction of the full power."""
    warn_j_per_cm2: float | None = Field(default=None, gt=0)
    throttle_j_per_cm2: float | None = Field(default=None, gt=0)
    budget_j_per_cm2: float | None = Field(default=None, gt=0)
    warn_full_power_s: float | None = Field(default=None, gt=0)
    throttle_full_power_s: float | None = Field(default=None, gt=0)
    budget_full_power_s: float | None = Field(default=None, gt=0)
    throttle_interval: float = Field(default=2.0, ge=1)
    """How much longer the rig itself makes the interval when a field reaches ``throttle``."""
    throttle_light: float = Field(default=0.5, gt=0, le=1)
    """How much of the light's power it leaves."""
    at_budget: Literal["leave", "dark", "stop"] = "leave"
    """What happens when a field has had its budget: its position is visited no more (where a plan cannot leave it,
    which is the last one or streams, the light closes), the whole plan goes on without light, or the run ends."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        by_energy = (self.warn_j_per_cm2, self.throttle_j_per_cm2, self.budget_j_per_cm2)
        by_time = (self.warn_full_power_s, self.throttle_full_power_s, self.budget_full_power_s)
        if any(by_energy) and self.mw_per_mm2 is None:
            raise ValueError("budgets in J/cm² need mw_per_mm2; without a calibration use warn_full_power_s and so on")
        for levels in (by_energy, by_time):
            given = [level for level in levels if level is not None]
            if given != sorted(given):
                raise ValueError(f"warn, throttle and budget must rise: {given}")
        return self


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


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into plain data. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; see deploy/examples for complete configurations") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def parse(model: type[Model], data: Mapping[str, Any], where: str) -> Model:
    """Check plain data against a settings model.

    Raises
    ------
    ConfigError
        Names the key, what is wrong, and for an unknown key the nearest known one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_sentence(model, item) for item in error.errors())) from None


def _sentence(model: type[BaseModel], item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "known keys: " + ", ".join(sorted(known))
        return f"unknown key '{key}'; {hint}"
    said = str(item["msg"]).removeprefix("Value error, ")
    if not key:  # it is about several tables, which it names
        return said
    given = "" if isinstance(item.get("input"), dict) else f" (got {item.get('input')!r})"
    return f"'{key}' {said[0].lower()}{said[1:]}{given}"


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
