"""What things are called on Modal. Read by both sides; imports nothing."""

from __future__ import annotations

APP = "foresight"
ON_CPU, ON_GPU, PREPARE = "run_on_cpu", "run_on_gpu", "prepare_here"  # functions of the app

RESULTS, MODELS, DATASETS = "foresight-results", "foresight-model-cache", "foresight-datasets"  # volumes
CLAIMS = "foresight-claims"  # a Dict

ROOT = "/foresight"
"""In a container: `results/`, `models/` and `datasets/`, a volume each. FORESIGHT_HOME is the first."""

PACKAGES = "FORESIGHT_PACKAGES"  # at deploy time: import names of packages to ship, with commas between
SECRETS = "FORESIGHT_SECRETS"  # at deploy time: names of Modal secrets to attach, with commas between

DEPLOY = "modal deploy -m foresight.compute.modal_app"

END_OF_LOG = "::end"  # the last line that a call prints
