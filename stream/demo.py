"""The demonstration: the whole loop on the virtual microscope, scored against its truth, with a picture at the end."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Any

from stream import examples, session
from stream.album import Album
from stream.config import load
from stream.errors import CytoloopError
from stream.facts.questions import summary
from stream.picture import draw_summary
from stream.supervisor import settle_ports

Say = session.Say


def run(
    seconds: float,
    *,
    browser: bool,
    say: Say = lambda line: None,
    stop: threading.Event | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Run the demonstration and return its summary.

    Parameters
    ----------
    seconds
        How long to image.
    browser
        Open the live page.
    out
        Where the run folder goes; None: ``runs`` here.

    Returns
    -------
    dict
        ``frames, lost, fps, latency_ms, divisions {truth, found, f1}, commands, startup_s, run_dir, picture`` and more.

    Raises
    ------
    CytoloopError
        A node failed.
    """
    base = examples.folder()
    config = load(base / "virtual.toml")
    record = config.record.model_copy(update={"labels": True})
    where = config.run.model_copy(update={"name": "demo", **({"out": out} if out else {})})
    config = config.model_copy(update={"record": record, "run": where})
    config = settle_ports(config)
    album = Album(config.wire)
    say("starting; the first time on a machine the stages are compiled, which takes about a minute …")

    def started(report: session.Report) -> None:
        say(f"imaging for {seconds:g} s (ready after {report.startup_s:.1f} s); Ctrl-C ends it early")
        album.start()
        if browser and report.page:
            webbrowser.open(report.page)

    report = session.run(
        config, base, ("acquire", "analyse", "watch"), seconds=seconds, say=say, stop=stop, on_start=started
    )
    album.close()
    if report.error:
        raise CytoloopError(report.error)
    say("scoring against the truth …")
    result = {**summary(report.run_dir), "divisions": score(report.run_dir)}
    picture = report.run_dir / "summary.png"
    draw_summary(album.newest, album.strips, report.run_dir, _title(result), picture)
    return {
        **result,
        "startup_s": round(report.startup_s, 2),
        "run_dir": str(report.run_dir),
        "picture": str(picture),
    }


def score(run_dir: Path) -> dict[str, Any]:
    """Score the divisions of a run on the virtual microscope against its truth, strictly."""
    from stream.score.folder import score_folder

    fields = sorted(path for path in (run_dir / "labels").glob("*") if path.is_dir())
    truth = run_dir / "truth"
    if not fields or not (truth / "TRA" / "man_track.txt").is_file():
        return {"truth": 0, "found": 0, "f1": None}
    scored = score_folder(fields[0], truth)
    found = _count_divisions(fields[0] / "res_track.txt")
    figures = {name: scored[name] for name in ("DET", "TRA")}
    return {"truth": _count_divisions(truth / "TRA" / "man_track.txt"), "found": found, **scored["division"], **figures}


def _count_divisions(path: Path) -> int:
    parents = [int(line.split()[3]) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return sum(parents.count(parent) > 1 for parent in set(parents) - {0})


def _title(result: dict[str, Any]) -> str:
    divisions, latency = result["divisions"], result["latency_ms"] or {}
    return (
        f"virtual microscope: {result['frames']} frames, {divisions['truth']} true divisions, "
        f"{divisions['found']} found; decided {latency.get('p50', float('nan')):.0f} ms after the frame (median)"
    )


def in_words(result: dict[str, Any]) -> str:
    """Return the summary as a person reads it."""
    latency = result["latency_ms"] or {"p50": float("nan"), "p95": float("nan"), "p99": float("nan")}
    divisions, commands = result["divisions"], result["commands"]
    lost = ", ".join(f"{n} {why}" for why, n in result["lost"].items()) or "none"
    f1 = "not scored" if divisions["f1"] is None else f"F1 {divisions['f1']:.2f}"
    return "\n".join(
        [
            "",
            f"  frames      {result['frames']} at {result['fps'] or 0:.1f} /s, lost: {lost}",
            f"  latency     {latency['p50']:.0f} ms median, {latency['p99']:.0f} ms p99, from popped to decided",
            f"  divisions   {divisions['truth']} true, {divisions['found']} found, {f1}",
            f"  commands    {commands['applied']} applied ({commands['by_division']} because of a division), "
            f"{commands['refused']} refused, {commands['expired']} expired, {commands['failed']} failed",
            f"  start-up    {result['startup_s']} s",
            f"  picture     {result['picture']}",
            f"  run folder  {result['run_dir']}",
        ]
    )
