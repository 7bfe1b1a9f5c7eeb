"""Commands of how-tos, run as a reader would run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from include.config.files import ROOT
from tests.kubernetes.cluster import Cluster

BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TOOLS = ("kubectl", "helm")


def blocks(name: str) -> list[str]:
    """The commands of a how-to."""
    return BLOCK.findall((ROOT / "docs" / "howto" / name).read_text(encoding="utf-8"))


def bash(text: str, cluster: Cluster, **variables: str) -> str:
    """Runs commands as a reader would; what they print. Fails the test when one of them fails."""
    path = f"{Path(cluster.kubeconfig).parent / 'bin'}:{os.environ['PATH']}"
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=path) is None]:
        pytest.fail(f"not on PATH: {', '.join(missing)}. See docs/howto/test-on-kubernetes.md", pytrace=False)
    environment = {**os.environ, **variables, "PATH": path, "KUBECONFIG": cluster.kubeconfig}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
