"""All tests, with what must be settled before the first of them imports anything."""

import atexit
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# An example takes as long as it takes: the machines that run this are small and shared.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run, so that a change is judged by what it changes. HYPOTHESIS_PROFILE=search looks for others.
settings.register_profile("platform", settings.get_profile("search"), derandomize=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "platform")
settings.load_profile(PROFILE)
if PROFILE == "platform":
    # It also draws constants of the modules that happen to be imported, which depends on the tests that this worker has run before. None, then.
    providers._get_local_constants = lambda: providers._local_constants

# Airflow reads its settings when it is imported: those of the repository, not of whoever runs the tests, and it writes to a folder that goes away.
if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="ol-airflow-")
    os.environ["AIRFLOW_CONFIG"] = str(Path(__file__).resolve().parents[1] / "airflow.cfg")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

# What these settings name lies there; pytest knows it, a benchmark that uses parts of these tests does not.
PLUGINS = str(Path(__file__).resolve().parents[1] / "plugins")
if PLUGINS not in sys.path:
    sys.path.insert(0, PLUGINS)

# A shell starts its background jobs deaf to Ctrl-C, and what they start inherits that: the programs under test must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)
