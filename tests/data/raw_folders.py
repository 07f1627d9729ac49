"""Small COCO and Something-Something v2 folders in the true layout, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from PIL import Image

COLOURS = [(220, 40, 40), (40, 180, 60), (40, 60, 220), (230, 200, 40)]


def fake_coco(root: Path, n: int = 12, *, width: int = 160, height: int = 120, several: bool = False) -> Path:
    """`n` noisy images, each with one coloured rectangle (category by colour), a speck and a crowd far from it.

    With `several` each has two rectangles, one in either half, and no speck, so that none is too small to ask for.
    """
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(n):
        image_id = 1000 + 7 * i
        name = f"{image_id:012d}.jpg"
        pixels = rng.integers(90, 150, size=(height, width, 3), dtype=np.uint8)
        found = []
        for k in range(2 if several else 1):
            room = width // 2 if several else width
            w, h = (int(v) for v in rng.integers(36, 50, size=2))
            x, y = k * room + int(rng.integers(0, room - w)), int(rng.integers(0, height - h))
            pixels[y : y + h, x : x + w] = COLOURS[(i + k) % len(COLOURS)]
            found.append((1 + (i + k) % len(COLOURS), [x, y, w, h], 0))
        x = found[0][1][0]
        if not several:
            found.append((90, [0 if x > 20 else width - 8, 2, 6, 6], 0))
        found.append((1, [0 if x > width / 2 else width - 4, 0, 4, height], 1))
        Image.fromarray(pixels).save(root / "val2017" / name, quality=95)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height, "license": 1 + i % 2})
        for category, box, crowd in found:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": [float(v) for v in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": crowd,
                    "segmentation": [],
                }
            )
    instances = {
        "info": {"year": 2017},
        "licenses": [
            {"id": 1, "name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"},
            {"id": 2, "name": "No known copyright restrictions", "url": "http://flickr.com/commons/usage/"},
        ],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": f"thing {i}"} for i in (1, 2, 3, 4, 90)],
    }
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(instances))
    return root


TEMPLATES = {"Pushing [something] from left to right": "93", "Pushing [something] from right to left": "94"}


def fake_ssv2(
    root: Path, n_train: int = 12, n_validation: int = 12, *, seconds: float = 2.0, fps: int = 12, accepted: bool = True
) -> Path:
    """Clips of a square that moves left to right or right to left over a texture of its own, 96x64, VP9 in webm."""
    (root / "20bn-something-something-v2").mkdir(parents=True)
    (root / "labels").mkdir()
    number = 100
    for part, n in (("train", n_train), ("validation", n_validation)):
        entries = []
        for i in range(n):
            template = list(TEMPLATES)[i % 2]
            write_clip(
                root / "20bn-something-something-v2" / f"{number}.webm", number, round(seconds * fps), fps, bool(i % 2)
            )
            label = template.replace("[something]", "a box").lower()
            entries.append({"id": str(number), "label": label, "template": template, "placeholders": ["a box"]})
            number += 1
        (root / "labels" / f"{part}.json").write_text(json.dumps(entries))
    classes = {template.replace("[", "").replace("]", ""): number for template, number in TEMPLATES.items()}
    (root / "labels" / "labels.json").write_text(json.dumps(classes))
    if accepted:
        (root / "licence-accepted.txt").write_text("A. Tester, 2026-11-24\n")
    return root


def write_clip(path: Path, seed: int, n_frames: int, fps: int, leftward: bool) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, size=(8, 12, 3), dtype=np.uint8)
    coarse[..., 0] = coarse[..., 0] // 4  # nothing in it is as red as the square
    backdrop = np.asarray(Image.fromarray(coarse).resize((96, 64), Image.Resampling.BICUBIC))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.options = {"cpu-used": "8", "deadline": "realtime", "crf": "20", "b": "0"}
        for k in range(n_frames):
            frame = backdrop.copy()
            x = round(80 * (k / max(n_frames - 1, 1)))
            x = 80 - x if leftward else x
            frame[24:40, x : x + 16] = (255, 0, 0)
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
