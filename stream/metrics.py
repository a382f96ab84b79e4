"""Every metric that a node exports, named in one place; served from one port per process."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server

from stream.errors import ConfigError

REGISTRY = CollectorRegistry()
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

FRAMES_RECEIVED = Counter(
    "cytoloop_frames_received", "Frames that a node took in", ["node", "camera"], registry=REGISTRY
)
FRAMES_LOST = Counter(
    "cytoloop_frames_lost",
    "Frames that did not reach the next part, by where and why",
    ["stage", "reason"],
    registry=REGISTRY,
)
FRAMES_DECIMATED = Counter(
    "cytoloop_frames_decimated", "Frames left out by the plan's own policy", ["camera"], registry=REGISTRY
)
DISCONTINUITIES = Counter(
    "cytoloop_discontinuities", "Restarts and gaps that a driver reported", ["camera", "reason"], registry=REGISTRY
)
STAGE_SECONDS = Histogram(
    "cytoloop_stage_seconds", "Time that one frame took in a stage", ["stage"], buckets=_SECONDS, registry=REGISTRY
)
END_TO_END_SECONDS = Histogram(
    "cytoloop_end_to_end_seconds", "From popped at the rig to decided", [], buckets=_SECONDS, registry=REGISTRY
)
QUEUE_DEPTH = Gauge("cytoloop_queue_depth", "Frames that wait", ["queue"], registry=REGISTRY)
EVENTS = Counter("cytoloop_events", "Event revisions", ["kind", "status"], registry=REGISTRY)
COMMANDS = Counter("cytoloop_commands", "Commands by final state", ["kind", "state"], registry=REGISTRY)
COMMAND_SECONDS = Histogram(
    "cytoloop_command_seconds", "From received at the rig to applied", [], buckets=_SECONDS, registry=REGISTRY
)
MESSAGES_REFUSED = Counter(
    "cytoloop_messages_refused", "Messages that were not understood", ["port", "reason"], registry=REGISTRY
)
POLICY_DROPPED = Counter(
    "cytoloop_policy_dropped", "Wishes dropped with their policy's fault", ["policy", "reason"], registry=REGISTRY
)
STAGE_ERRORS = Counter(
    "cytoloop_stage_errors", "Frames that a stage refused or failed on", ["stage", "error"], registry=REGISTRY
)
EVENT_LATE_SECONDS = Histogram(
    "cytoloop_event_late_seconds",
    "From when the plan, or a command beside it, had an event due to when it began",
    ["of"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
FALLBACKS = Counter(
    "cytoloop_base_plan_returns", "Times the rig fell back to its base plan", ["reason"], registry=REGISTRY
)
APPROVALS_WAITING = Gauge("cytoloop_approvals_waiting", "Commands that wait for an operator's word", registry=REGISTRY)
DOSE = Gauge(
    "cytoloop_dose_full_power_seconds", "Light that a field has had, as s at full power", ["field"], registry=REGISTRY
)
DOSE_LEVELS = Counter(
    "cytoloop_dose_levels_reached", "Times a field reached a level of its light budget", ["level"], registry=REGISTRY
)
CELLS_ALIVE = Gauge("cytoloop_cells_alive", "Cells in the newest decided frame", ["field"], registry=REGISTRY)
RUNTIME = Gauge(
    "cytoloop_runtime_info",
    "1 for each network that was opened: what runs it and why",
    ["model", "runtime", "precision", "reason"],
    registry=REGISTRY,
)
BUILD = Info("cytoloop_build", "Versions", registry=REGISTRY)


def serve(node: str, host: str, port: int) -> int:
    """Serve ``/metrics`` of this process and return the port (``port`` 0 picks a free one). Raises ConfigError."""
    from importlib.metadata import version

    BUILD.info({"version": version("cytoloop"), "python": platform.python_version(), "node": node})
    try:
        server, _ = start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        where = f"[watch] host = '{host}', {node}_port = {port}"
        raise ConfigError(f"{where}: metrics cannot be served there ({error}); port 0 is any free one") from error
    return int(server.server_port)
