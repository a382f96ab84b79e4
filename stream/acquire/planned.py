"""What cannot be run as it is configured: a plan that its own limits forbid, or an analysis that it never feeds."""

from __future__ import annotations

from collections.abc import Iterator

from stream.acquire.travel import Travel, outside
from stream.acquire.visits import Visits
from stream.acquire.whereabouts import Whereabouts
from stream.config import Configuration


def contradictions(config: Configuration) -> Iterator[str]:
    """Yield what contradicts itself, in sentences that name the tables.

    A rig whose analysis is lost goes back to its plan, and it is checked then like every command: a plan outside
    ``[limits]`` could never be returned to.
    """
    plan, limits, chain = config.plan, config.limits, config.chain
    for name, value, span, unit in (
        ("exposure_ms", plan.exposure_ms, limits.exposure_ms, "ms"),
        ("interval_ms", plan.interval_ms, limits.interval_ms, "ms"),
        ("light_power", plan.light_power, limits.light_power, "of full power"),
    ):
        if wrong := outside(name, value, span, unit):
            yield f"[plan] {wrong} of [limits]: the rig could not go back to its plan; change one of the two"
    if wrong := Travel(limits, Whereabouts()).visits(Visits(plan)):
        yield f"[plan] leads where [limits] lets nothing go: {wrong}"
    for name in dict.fromkeys((chain.segment_channel, *chain.measure_channels)):
        if name and plan.channels and name not in plan.channels:
            taken = ", ".join(plan.channels)
            yield f"[chain] waits for the channel '{name}', which [plan] channels does not take: {taken}"
