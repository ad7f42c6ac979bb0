"""Known vulnerabilities of the pinned dependencies, as PyPI tells them: status 1 where there are some."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def audit(requirements: str) -> bool:
    """Whether nothing is known against a file of pins; prints what is, and how many could be asked about."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, "--no-deps", "--disable-pip"]
    asked = subprocess.run(  # noqa: S603 - our own environment's pip-audit
        [*command, "--format", "json"], capture_output=True, text=True, check=False
    )
    try:
        pins: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        print(f"{requirements}: not audited: {' '.join(asked.stderr.strip().splitlines()[-1:])}")
        return True
    told = [pin for pin in pins if "skip_reason" not in pin]
    found = [(pin, one) for pin in told for one in pin["vulns"]]
    for pin, one in found:
        mended = ", ".join(one["fix_versions"]) or "nothing yet"
        print(f"{requirements}: {pin['name']} {pin['version']}: {one['id']}, mended in {mended}")
    print(f"{requirements}: {len(told)} of {len(pins)} pins audited, {len(found)} known vulnerabilities")
    if not told:
        print(f"{requirements}: the index in use does not tell; run it where pypi.org itself answers")
    return not found


if __name__ == "__main__":
    results = [audit(f"requirements/{name}.txt") for name in ("service", "dev")]
    sys.exit(0 if all(results) else 1)
