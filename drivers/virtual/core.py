"""Micro-Manager's Python core with the virtual devices in it."""

from __future__ import annotations

from collections.abc import Callable

from pymmcore_plus.experimental.unicore import UniMMCore

from drivers.virtual.bench import Bench
from drivers.virtual.buffer import FrameBuffer
from drivers.virtual.camera import VirtualCamera
from drivers.virtual.devices import VirtualFilter, VirtualFocus, VirtualLight, VirtualShutter, VirtualXYStage
from drivers.virtual.exposures import Exposures
from drivers.virtual.microscope import Microscope, Shot
from drivers.virtual.modulator import VirtualModulator
from drivers.virtual.night import Effect
from drivers.virtual.options import VirtualOptions

CAMERA, XY, FOCUS, SHUTTER, LIGHT, FILTER, GROUP = "Camera", "XY", "Focus", "Shutter", "Light", "Filter", "Channel"
MODULATOR = "Modulator"


class VirtualCore(UniMMCore):
    """A core that holds a complete virtual microscope.

    Two private parts of the core are used: its buffer, which is replaced (see :class:`FrameBuffer`), and the event by
    which it stops a sequence, so that a long exposure ends at once. The version of pymmcore-plus is pinned for that.
    """

    def __init__(
        self,
        options: VirtualOptions,
        on_shot: Callable[[Shot], None] = lambda shot: None,
        on_fault: Callable[[Effect], None] = lambda effect: None,
    ) -> None:
        super().__init__()
        self._bench = Bench(options)
        self._seq_buffer = FrameBuffer(options.buffer_mb or 256)
        self.microscope = Microscope(options, tells=options.truth_dir is not None)
        self.microscope.night.listener = on_fault
        self.microscope.expose(self._bench.view())  # compiled code is warm before the first frame is due
        self._exposures = Exposures(self._bench, self.microscope, options, self._stop_event, on_shot)
        modulator = VirtualModulator(self._bench, self.microscope, options.size_px, self._exposures.catch_up)
        self._exposures.on_begin = modulator.feel
        for label, device in {
            CAMERA: VirtualCamera(self._bench, self._exposures, options.size_px),
            XY: VirtualXYStage(self._bench, self.microscope),
            FOCUS: VirtualFocus(self._bench),
            SHUTTER: VirtualShutter(self._bench),
            LIGHT: VirtualLight(self._bench),
            FILTER: VirtualFilter(self._bench, options.channel_names),
            MODULATOR: modulator,
        }.items():
            self.loadPyDevice(label, device)
            self.initializeDevice(label)
        self.setCameraDevice(CAMERA)
        self.setXYStageDevice(XY)
        self.setFocusDevice(FOCUS)
        self.setShutterDevice(SHUTTER)
        self.setSLMDevice(MODULATOR)
        for channel in options.channel_names:
            self.defineConfig(GROUP, channel, FILTER, "Label", channel)
        self.setChannelGroup(GROUP)
        self.setConfig(GROUP, options.channel_names[0])
        self.definePixelSizeConfig("pixel")
        self.setPixelSizeUm("pixel", options.pixel_um)
        self.setPixelSizeAffine("pixel", (options.pixel_um, 0.0, 0.0, 0.0, options.pixel_um, 0.0))

    def unloadAllDevices(self) -> None:
        """Unload; a camera that hangs in an image is woken first, because it holds its own lock."""
        self._exposures.wake()
        super().unloadAllDevices()

    def reset(self) -> None:
        """Unload, and forget all configuration."""
        self._exposures.wake()
        super().reset()

    def setAutoShutter(self, state: bool) -> None:
        """Light every frame whatever the shutter says, or not."""
        super().setAutoShutter(state)
        self._bench.auto(bool(state))

    def setCircularBufferMemoryFootprint(self, sizeMB: int) -> None:
        """Resize the buffer; a running sequence is stopped."""
        if self.isSequenceRunning():
            self.stopSequenceAcquisition()
        self._seq_buffer = FrameBuffer(sizeMB)
