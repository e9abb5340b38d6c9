"""Units of panels, by Grafana's names; `suffix:` gives one that Grafana does not know."""

from __future__ import annotations

COUNT = "short"
SECONDS = "s"
SHARE = "percentunit"
BYTES = "bytes"
BYTES_A_SECOND = "Bps"
STEPS = "suffix:steps"
STEPS_A_SECOND = "suffix:steps/s"
FRAMES_A_SECOND = "suffix:frames/s"
UPDATES = "suffix:updates"
VERSIONS = "suffix:versions"
UPDATES_A_SECOND = "suffix:updates/s"
SCORE = "suffix:points"
NUMBER = "none"
"""Of a loss or a norm, which have no unit; small ones keep their digits."""
SCIENTIFIC = "sci"
