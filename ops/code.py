"""Names the code that goes into an image: ``python ops/code.py TORCH`` prints the same digits for the same files.

They are those that `bentofile.yaml` includes as they lie here, committed or not, with the pins, the recipe of the image
and the build of torch. The README, which a bento carries too, is no code.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Final

import yaml
from pathspec import PathSpec

ROOT: Final = Path(__file__).resolve().parent.parent
RECIPE: Final = ("bentofile.yaml", "ops/Dockerfile.j2", "requirements/service.txt")


def code(root: Path, torch: str) -> str:
    """Ten hexadecimal digits."""
    build = yaml.safe_load((root / "bentofile.yaml").read_text())
    # BentoML reads both in the same way.
    included, excluded = (PathSpec.from_lines("gitwildmatch", build.get(key, [])) for key in ("include", "exclude"))
    # Folders that no pattern can name are not walked through: an environment, data, a repository.
    tops = [top for name in {pattern.partition("/")[0] for pattern in build["include"]} for top in root.glob(name)]
    files = [path for top in tops for path in (top, *top.rglob("*")) if path.is_file()]
    names = [str(path.relative_to(root)) for path in files]
    names = [name for name in names if included.match_file(name) and not excluded.match_file(name)]
    digest = hashlib.sha256(f"torch {torch}\n".encode())
    for name in sorted({*names, *RECIPE}):
        content = (root / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:10]


if __name__ == "__main__":
    print(code(ROOT, sys.argv[1]))
