"""Qwen2.5-VL as a feature extractor: all visual tokens at every extraction point, on their grid, in raster order.

The tower computes in another order than it is read in: 2x2 patches form a block, and blocks are sorted by attention
window. Read naively, 11 % of the patches are where they seem to be (measured on a 10 x 14 grid with 4 x 4 windows);
`_to_raster` undoes both. Tokens of the language model are already in raster order, between those of the prompt.

A clip goes through the checkpoint's own video path: two frames (`temporal_patch`) become one step of the grid, and the
language model places the steps in time by the clip's frame rate (M-RoPE). The tower attends within a step only; the
language model is causal, so that its tokens of a step have seen the steps before and none after.

Only hooks on `visual.blocks`, `visual.merger` and the returned hidden states are used, so that the meaning of a point
does not hang on what a version of transformers chooses to return.

Shapes: N images or clips, T frames, t x h x w grid cells, D channels, S tokens of the whole batch; suffixes of names
say which.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
from transformers.video_utils import VideoMetadata
from transformers.vision_utils import get_vision_window_index

from foresight.errors import UserError
from foresight.features.points import Point, check_depth, parse_point


class Vlm:
    """A loaded Qwen2.5-VL (`Qwen2_5_VLForConditionalGeneration`), frozen. `loading.load_vlm` makes one."""

    role = "vlm"

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.tower = model.model.visual
        vision, text = model.config.vision_config, model.config.text_config
        self.patch: int = vision.patch_size  # pixels
        self.merge: int = vision.spatial_merge_size
        self.temporal_patch: int = vision.temporal_patch_size  # frames a step of the grid
        self.blocks: int = vision.depth
        self.layers: int = text.num_hidden_layers
        self._width = {
            "X1": vision.hidden_size,
            "X2": vision.hidden_size,
            "X3": text.hidden_size,
            "X4": text.hidden_size,
        }
        # The picture comes first after the system prompt: attention is causal, so no question could bear on its tokens.
        self._prompts: dict[str, str] = {
            kind: processor.apply_chat_template(
                [{"role": "user", "content": [{"type": kind}]}], tokenize=False, add_generation_prompt=False
            )
            for kind in ("image", "video")
        }

    @property
    def device(self) -> torch.device:
        return self.model.device

    def grid(self, point: str, height: int, width: int) -> tuple[int, int, int]:
        """[h, w, D] of the features of a `height` x `width` px image at `point`."""
        kind = parse_point(point, self.role).kind
        cell = self.patch * (1 if kind in ("X1", "X2") else self.merge)
        return height // cell, width // cell, self._width[kind]

    @torch.inference_mode()
    def encode(
        self,
        images: np.ndarray,
        points: Sequence[str],
        side: int | None = None,
        batch_size: int = 32,
        fps: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Features at every point, float32, from one pass a batch.

        Of uint8 images [N, H, W, 3] each is [N, h, w, D]; of clips [N, T, H, W, 3] at `fps` frames a second each is
        [N, t, h, w, D], t = T / temporal_patch.

        `side`: height and width in pixels to which the model's own processor brings a square image first, a multiple
        of 28 (of patch x merge); an image of another shape keeps its proportions, and gets about side^2 pixels. None
        keeps the size of the images, which must then be such multiples. The language model runs only if an X4 is asked.

        Raises `UserError` on sizes or numbers of frames that do not fit, on clips without a frame rate, or on points
        that the model does not have.
        """
        wanted = {name: parse_point(name, self.role) for name in points}
        check_depth(wanted.values(), self.blocks, self.layers)
        if images.ndim not in (4, 5) or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise UserError(
                "The VLM reads uint8 pictures [N, H, W, 3] or clips [N, T, H, W, 3], "
                f"not {images.dtype} {images.shape}."
            )
        if images.ndim == 5:
            self._check_clips(images.shape[1], fps)
        height, width = images.shape[-3:-1]
        size = self._size(height, width, side)
        batches = [
            self._encode_batch(images[start : start + batch_size], wanted, size, fps)
            for start in range(0, len(images), batch_size)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in wanted}

    def _check_clips(self, frames: int, fps: float | None) -> None:
        if fps is None or fps <= 0:
            raise UserError(
                "The VLM places the frames of a clip in time by their rate, and none was given. Give the data set's "
                "items a label `fps`."
            )
        if frames % self.temporal_patch:
            raise UserError(
                f"The VLM joins {self.temporal_patch} frames into one step, which {frames} frames do not divide into. "
                f"Take clips of {frames - frames % self.temporal_patch or self.temporal_patch} frames."
            )

    def _size(self, height: int, width: int, side: int | None) -> dict[str, int]:
        """Limits on the number of pixels that leave the processor no choice of its own."""
        unit = self.patch * self.merge
        if side is None:
            if height % unit or width % unit:
                raise UserError(
                    f"Images of {height} x {width} px do not divide into tokens of {unit} px. "
                    f"Ask for a side that does, such as vlm:X3@{unit * max(1, round(height / unit))}."
                )
            return {"shortest_edge": height * width, "longest_edge": height * width}
        if side <= 0 or side % unit:
            raise UserError(f"A side of {side} px does not divide into tokens of {unit} px. Take a multiple of {unit}.")
        # Half a pixel of slack each way: with none, rounding in the processor gives the next smaller or larger size
        # for one square in seventeen (2,385 of the pairs of 28 to 1,200 px and 28 to 812 px).
        return {"shortest_edge": side * side - side, "longest_edge": side * side + side}

    def _inputs(self, images: np.ndarray, size: dict[str, int], fps: float | None) -> Any:
        """What the checkpoint's processor makes of a batch."""
        pixels = [torch.tensor(image).movedim(-1, -3) for image in images]  # channels before height
        if images.ndim == 4:
            pictures: dict[str, Any] = {"images": pixels, "images_kwargs": {"size": size}}
        else:
            frames = images.shape[1]
            seen = VideoMetadata(total_num_frames=frames, fps=fps, frames_indices=list(range(frames)))
            as_they_are = {
                "do_sample_frames": False,
                "cap_pixels_per_frame": False,
                "video_metadata": [seen] * len(images),
            }
            pictures = {"videos": pixels, "videos_kwargs": {"size": size, **as_they_are}}
        prompt = self._prompts["image" if images.ndim == 4 else "video"]
        return self.processor(text=[prompt] * len(images), **pictures, padding=True, return_tensors="pt").to(
            self.device
        )

    def _encode_batch(
        self, images: np.ndarray, wanted: dict[str, Point], size: dict[str, int], fps: float | None
    ) -> dict[str, Any]:
        n, clips = len(images), images.ndim == 5
        inputs = self._inputs(images, size, fps)
        patches = inputs["pixel_values_videos" if clips else "pixel_values"]
        grid = inputs["video_grid_thw" if clips else "image_grid_thw"]
        token_id = self.model.config.video_token_id if clips else self.model.config.image_token_id
        steps, rows, columns = grid[0].tolist()
        tokens_SD: dict[str, torch.Tensor] = {}

        with ExitStack() as hooks:
            for name, point in wanted.items():
                if point.kind != "X4":
                    hooks.enter_context(self._capture(point, tokens_SD, name))
            if any(point.in_language_model for point in wanted.values()):
                # All inputs, mm_token_type_ids too: without it positions silently become one-dimensional. Of clips,
                # second_per_grid_ts as well: without it every step counts as a second.
                out = self.model.model(**inputs, output_hidden_states=True, use_cache=False)
                visual = inputs["input_ids"] == token_id
                for name, point in wanted.items():
                    if point.in_language_model:
                        tokens_SD[name] = out.hidden_states[point.layer][visual]
            else:
                self.tower(patches.to(self.tower.dtype), grid_thw=grid)

        features = {}
        for name, point in wanted.items():
            h, w, width = self.grid(name, rows * self.patch, columns * self.patch)
            if tokens_SD[name].shape != (n * steps * h * w, width):
                raise ValueError(
                    f"{name}: {tuple(tokens_SD[name].shape)} tokens x channels, where the checkpoint's config says "
                    f"{n} images x {steps} steps x {h} x {w} tokens of {width}"
                )
            tokens = tokens_SD[name] if point.in_language_model else self._to_raster(tokens_SD[name], grid, h * w)
            shape = (n, steps, h, w, width) if clips else (n, h, w, width)
            features[name] = tokens.reshape(shape).float().cpu().numpy()
        return features

    def _capture(self, point: Point, tokens_SD: dict[str, torch.Tensor], name: str) -> Any:
        """A hook that keeps the tokens of `point`, in the tower's order."""

        def keep_input(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            tokens_SD[name] = args[0]

        def keep_output(module: Any, args: Any, output: torch.Tensor) -> None:
            tokens_SD[name] = output

        if point.kind == "X2":
            return self.tower.merger.register_forward_pre_hook(keep_input)
        if point.kind == "X3":
            return self.tower.merger.register_forward_hook(keep_output)
        assert point.layer is not None
        return self.tower.blocks[point.layer - 1].register_forward_hook(keep_output)

    def _to_raster(self, tokens_SD: torch.Tensor, grid: torch.Tensor, tokens_a_step: int) -> torch.Tensor:
        """From the tower's order (2x2 blocks, sorted by window) to raster order, step after step, image after image."""
        window_index, _ = get_vision_window_index(
            grid, spatial_merge_size=self.merge, window_size=self.tower.config.window_size, patch_size=self.patch
        )
        steps, rows, columns = grid[0].tolist()
        n, block = len(grid) * steps, self.merge**2
        if tokens_a_step * block == rows * columns:  # one token a block: after the merger
            return tokens_SD[torch.argsort(window_index)]
        blocks = tokens_SD.reshape(-1, block, tokens_SD.shape[-1])[torch.argsort(window_index)]
        return (
            blocks.reshape(n, rows // self.merge, columns // self.merge, self.merge, self.merge, -1)
            .permute(0, 1, 3, 2, 4, 5)
            .reshape(n * rows * columns, -1)
        )


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Vlm:
    """Load what `folder` holds, in the hub's layout, without asking the network."""
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return Vlm(model.to(device), AutoProcessor.from_pretrained(folder, local_files_only=True))
