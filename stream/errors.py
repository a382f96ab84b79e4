"""Every error that cytoloop raises on purpose.

::

    CytoloopError
    ├── ConfigError        a configuration or policy file says something that cannot be meant
    ├── FrameError         a frame whose pixels, shape or geometry cannot be true
    ├── StageError         a stage of the chain was given, or made, something impossible
    │   └── RuntimeUnavailable  a network's runtime that was asked for cannot be used here, or computes wrongly
    ├── DriverError        a device or a source failed
    │   ├── Refused        a command that this driver cannot honour now; the message is the reason
    │   │   └── Expired    one whose data grew too old while it waited for its turn at the hardware
    │   └── SourceError    a recording that cannot be read
    ├── WireError          a link between nodes failed
    │   ├── Malformed      a message that is not ours, or is torn
    │   └── UnknownSchema  a message of another major schema
    ├── PolicyError        a policy raised, hung or wished for nonsense
    └── StoreError         a run folder or its databases cannot be used

A message names the thing, the value and what to do about it.
"""

from __future__ import annotations


class CytoloopError(Exception):
    """Anything that cytoloop raises on purpose."""


class ConfigError(CytoloopError):
    """A configuration or policy file says something that cannot be meant."""


class FrameError(CytoloopError):
    """A frame whose pixels, shape or geometry cannot be true."""


class StageError(CytoloopError):
    """A stage of the chain was given, or made, something impossible."""


class RuntimeUnavailable(StageError):
    """A network's runtime that was asked for cannot be used here, or computes wrongly; the message says what to do."""


class DriverError(CytoloopError):
    """A device or a source failed."""


class Refused(DriverError):
    """A command that this driver cannot honour now; the message is the reason."""


class Expired(Refused):
    """A command whose data grew too old while it waited for its turn at the hardware."""


class SourceError(DriverError):
    """A recording that cannot be read."""


class WireError(CytoloopError):
    """A link between nodes failed."""


class Malformed(WireError):
    """A message that is not ours, or is torn."""


class UnknownSchema(WireError):
    """A message of another major schema."""


class PolicyError(CytoloopError):
    """A policy raised, hung or wished for nonsense."""


class StoreError(CytoloopError):
    """A run folder or its databases cannot be used."""
