"""Stage 1: the faces, drawn by Node from an npm package, as one array of different pictures."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from .run import Run

DRAWING = Path(__file__).resolve().parent.parent / "data"


def draw(run: Run) -> None:
    """Draw the faces and store the different ones as uint8 [pictures, size, size, 3] in `pictures.npy`."""
    target = run.path("pictures.npy")
    if target.exists():
        return
    shards = run.path("data")
    _draw_shards(run, shards)
    size = run.settings.data.size
    files = sorted(shards.glob("shard-*.bin"))
    pictures = np.concatenate([np.fromfile(f, np.uint8).reshape(-1, size, size, 3) for f in files])
    different = _different(pictures[: run.settings.data.drawn])
    with open(f"{target}.part", "wb") as part:
        np.save(part, different)
    Path(f"{target}.part").replace(target)
    run.say(f"data: {len(different)} different pictures of {run.settings.data.drawn} drawn")
    shutil.rmtree(shards)


def _draw_shards(run: Run, shards: Path) -> None:
    """Install the drawing packages beside the run, then draw what is missing."""
    data = run.settings.data
    tools = run.path("draw")
    tools.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", "draw.mjs"):
        shutil.copy(DRAWING / name, tools / name)
    if not (tools / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=tools, check=True)
    command = ["node", "draw.mjs", "--out", str(shards.resolve()), "--count", str(data.drawn)]
    subprocess.run(
        [*command, "--size", str(data.size), "--shard", str(data.shard)], cwd=tools, check=True
    )


def _different(pictures: np.ndarray) -> np.ndarray:
    """Keep the first of pictures that are alike to the last pixel."""
    seen: set[bytes] = set()
    keep = []
    for index, picture in enumerate(pictures):
        digest = hashlib.sha256(picture.tobytes()).digest()
        if digest not in seen:
            seen.add(digest)
            keep.append(index)
    return pictures[keep]


def load(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The training and the held-out pictures, uint8 [pictures, size, size, 3]; the last ones are held out."""
    pictures = np.load(run.path("pictures.npy"), mmap_mode="r")
    border = len(pictures) - run.settings.data.held_out
    return pictures[:border], pictures[border:]


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Turn uint8 NHWC pictures into float32 [batch, 3, size, size] in [-1, 1]."""
    values = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2)
    return values.float().div(127.5).sub(1).contiguous()
