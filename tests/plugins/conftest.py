from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from distributions import SitePackages  # (found beside this file)


@pytest.fixture
def site(tmp_path: Path) -> SitePackages:
    """Return an empty folder for installed distributions."""
    return SitePackages(tmp_path)
