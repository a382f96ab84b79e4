"""The rig's node: it publishes frames, and checks, applies, verifies and answers commands. It never sees the core."""
