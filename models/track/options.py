"""What a configuration may say to the tracker."""

from __future__ import annotations

from pydantic import Field

from stream.settings import Settings


class TrackOptions(Settings):
    """``[chain] track_options`` of the assignment tracker."""

    max_gap: int = Field(default=2, ge=0)
    """Frames in which a track may be unseen and still go on."""
    max_hidden: int = Field(default=5, ge=0)
    """The same while another track's cell covers it."""
    max_cut: int = Field(default=10, ge=0)
    """Frames in a row for which a cell in which tracks met is cut among them; 0: never."""
    max_away: int = Field(default=50, ge=0)
    """Frames for which a track outside the image (the stage or ROI moved) is kept."""
    edge: float = Field(default=1.0, ge=0)
    """Typical diameters that a cell must reach into the image to be followed; 0: no cell is left out at the edge."""
    enter_px: float = Field(default=28.0, ge=0)
    """How far a cell that was not there in the first frame must reach into the image for a track to begin, daughters
    apart: half a cell tells little, and the truth of the Cell Tracking Challenge leaves out a margin of 25 px."""
    divide_px: float = Field(default=25.0, ge=0)
    """The same for both daughters of a division: one that is half outside is seen by chance."""
    split_threshold: float = Field(default=0.42, gt=0, lt=1)
    """The smallest probability at which an unexpected cell and its neighbour become daughters."""
    take_threshold: float = Field(default=0.57, gt=0, lt=1)
    """The same where another track would go on in one of them, though both say that they come from the mother."""
    stray_threshold: float = Field(default=0.65, gt=0, lt=1)
    """The same where one of them began alone a frame ago."""
    first_id: int = Field(default=1, ge=1)
    """The first track id; a restarted analysis begins above those it has used."""
