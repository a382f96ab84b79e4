"""What would stop a run, and what someone with a live sample would want to know before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stream.acquire.planned import contradictions
from stream.config import Configuration
from stream.doctor import networks, permissions
from stream.doctor.permissions import MOVES
from stream.doctor.schedule import budget_full_power_s
from stream.doctor.schedule import describe as describe_plan
from stream.errors import WireError
from stream.wire.link import check_address
from stream.wire.ports import outgoing

Camera = Mapping[str, Any] | None
Table = Mapping[str, Mapping[str, Any]]
_LIMIT_OF = {"exposure_ms": "exposure_ms", "interval_ms": "interval_ms", "power": "light_power"}
_LOOPBACK = ("127.", "localhost", "::1", "[::1]")


def problems(config: Configuration, camera: Camera) -> list[str]:
    """Return what would stop the run."""
    return [
        *_addresses(config),
        *contradictions(config),
        *_plan_against(config, camera),
        *networks.problems(config.chain),
    ]


def warnings(config: Configuration, camera: Camera, table: Table, policies: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is missing or surprising, most dangerous first."""
    return [
        *_stage(config, camera, table),
        *_wishes(config, camera, table, policies),
        *_measures(config, policies),
        *_light(config, camera),
        *_devices(config, camera),
        *_watching(config),
        *_operators(config),
        *networks.warnings(config.chain),
        *_ports(config),
    ]


def _addresses(config: Configuration) -> Iterator[str]:
    for name in ("frames", "control", "results"):
        try:
            check_address(getattr(config.wire, name))
        except WireError as error:
            yield f"[wire] {name}: {error}"


def _ports(config: Configuration) -> Iterator[str]:
    first, last = outgoing()
    for name in ("frames", "control", "results"):
        _, _, port = getattr(config.wire, name).rpartition(":")
        if port.isdecimal() and first <= int(port) <= last:
            yield (
                f"[wire] {name}: outgoing connections of this machine borrow ports {first} to {last}, also {port}, "
                "and a node could find it taken; choose a lower one"
            )


def _plan_against(config: Configuration, camera: Camera) -> Iterator[str]:
    plan = config.plan
    if plan.mode == "stream" and (len(plan.channels) > 1 or len(plan.positions_um) > 1):
        yield "[plan] mode 'stream' takes one channel and one position; use mode = 'mda' for more"
    if camera is None:
        return
    known = camera.get("channels", plan.channels)
    for channel in plan.channels:
        if channel not in known:
            yield f"[plan] channels: the rig has no channel '{channel}'; it has {', '.join(known) or 'none'}"
    stages = camera.get("stages", {})
    if plan.positions_um and stages and not stages.get("xy"):
        yield "[plan] positions_um: the rig has no XY stage"
    if plan.light_power is not None and not permissions.dims(camera):
        yield f"[plan] light_power: {permissions.NO_POWER}"


def _stage(config: Configuration, camera: Camera, table: Table) -> Iterator[str]:
    limits = config.limits
    movers = [kind for kind in MOVES if table[kind]["may"] != "no"]
    stages = (camera or {}).get("stages", {"xy": "?", "z": "?"})
    free = [axis for axis in ("x_um", "y_um") if getattr(limits, axis) is None and stages.get("xy")]
    free += ["z_um"] if limits.z_um is None and stages.get("z") and set(movers) - {"recentre"} else []
    if movers and free:
        yield (
            f"feedback may move the stage ({', '.join(movers)}) and [limits] has no {', '.join(free)}: "
            "nothing but the hardware's own end switches would stop it; set the limits, or leave the kinds out of allow"
        )


def _wishes(
    config: Configuration, camera: Camera, table: Table, policies: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    positions = max(1, len(config.plan.positions_um))
    for policy in policies:
        for sent in policy["sends"] or ():
            kind, who = sent["kind"], f"policy {policy['name']}, rule '{sent['rule']}'"
            if table[kind]["may"] == "no":
                yield f"{who} wishes for {kind}, which will be refused: {table[kind]['why']}"
            if isinstance(sent["position"], int) and not 0 <= sent["position"] < positions:
                yield f"{who}: {kind} is for position {sent['position']}; [plan] has {positions}, counted from 0"
            if kind == "set_light" and "power" in sent["fixed"] and not permissions.dims(camera):
                yield f"{who} sets the light's power, which will be refused: {permissions.NO_POWER}"
            for name, value in sent["fixed"].items():
                span = getattr(config.limits, _LIMIT_OF.get(name, ""), None)
                if span is not None and not span[0] <= value <= span[1]:
                    yield f"{who}: {name} {value:g} is outside [limits] {_LIMIT_OF[name]} {span[0]:g} to {span[1]:g}"


def _measures(config: Configuration, policies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    channels = max(1, len(config.chain.measure_channels))
    for policy in policies:
        for asked in policy["measures"]:
            if asked["channel"] >= channels:
                yield (
                    f"policy {policy['name']}, rule '{asked['rule']}' never fires: it asks for the intensity in "
                    f"channel {asked['channel']}, and [chain] measures {channels}, counted from 0; see measure_channels"
                )


def _light(config: Configuration, camera: Camera) -> Iterator[str]:
    if camera is not None and not camera.get("light"):
        return  # a recording: no light falls on anything
    budget_s = budget_full_power_s(config)
    if config.dose.mw_per_mm2 is None:
        yield "the light dose has no unit: measure the irradiance at the sample and set [dose] mw_per_mm2"
    if budget_s is None:
        yield "no light budget: set [dose] budget_full_power_s, or budget_j_per_cm2 where the light is calibrated"
    light = describe_plan(config, camera)["light"]
    if light["per"] == "plan" and light.get("of_the_budget", 0) > 1:
        yield (
            f"the plan alone costs {light['of_the_budget']:.3g} times the light budget of a field: it is spent after "
            f"{light['spent_after_s']:g} s"
        )


def _devices(config: Configuration, camera: Camera) -> Iterator[str]:
    known = camera or {}
    pace = str(known.get("interval", {}).get(config.plan.mode, ""))
    if pace.startswith("the camera's own") and config.plan.interval_ms > config.plan.exposure_ms:
        yield f"[plan] interval_ms = {config.plan.interval_ms:g} is not kept: {pace}"
    if known.get("light", {}).get("open"):
        yield (
            f"the shutter '{known['light']['shutter']}' stands open once the devices are loaded: the sample is lit "
            "before the run begins; close it in the configuration's startup"
        )
    if not known.get("pixel_calibrated", True):
        yield "the pixel size is not calibrated: recentring and all distances are in pixels, as if one were 1 µm"


def _watching(config: Configuration) -> Iterator[str]:
    alive_ms, interval_ms = config.limits.alive_timeout_s * 1e3, config.plan.interval_ms
    if alive_ms < interval_ms:
        yield (
            f"[limits] alive_timeout_s = {alive_ms / 1e3:g} is shorter than the interval of {interval_ms / 1e3:g} s: "
            "the rig may take an analysis for lost that only waits for a frame"
        )
    if "analyse" not in config.run.wait_for:
        yield "[run] wait_for does not name analyse: the camera starts without it, and the dead-man waits for it"
    host = config.watch.page.rpartition(":")[0]
    if not host.startswith(_LOOPBACK):
        yield f"[watch] page = '{config.watch.page}': anyone on that network can see the run"


def _operators(config: Configuration) -> Iterator[str]:
    limits = config.limits
    if limits.shadow:
        yield "[limits] shadow is on: feedback is decided and recorded, and nothing of it is applied"
    if limits.approve and limits.approved_max_age_ms is None and limits.approve_timeout_s * 1e3 > limits.max_age_ms:
        yield (
            f"an operator has {limits.approve_timeout_s:g} s for an answer, but after {limits.max_age_ms / 1e3:g} s "
            "the data are too old and the command expires: set [limits] approved_max_age_ms"
        )
