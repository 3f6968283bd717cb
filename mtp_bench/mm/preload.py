"""Everything heavy that a job imports, once, in the forkserver; no device is touched."""

from __future__ import annotations

import contextlib
import io

with contextlib.redirect_stdout(io.StringIO()):  # the libraries print while they are imported
    import mtp_bench.mm.finetune as finetune
    import mtp_bench.tasks.classification as classification

LOADED = (finetune, classification)
