"""DINOv2 as a feature extractor: the tokens of the patches, on their grid, in raster order.

It is the control for the vision-language model: an encoder of about the same patches, trained without any language.
Only patch tokens are kept; the CLS token, and the registers of the variant that has them, stand for no place.

The checkpoint's own processor scales and normalises, but does not cut: its centre crop would leave out a margin that
the other models see, and tokens would no longer cover the same pixels.

Shapes: N images, h x w grid cells, D channels, S tokens of an image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel

from foresight.errors import UserError

_CLASSES = ("dinov2", "dinov2_with_registers")  # `model_type` of the checkpoint's config


class Dino:
    """A loaded DINOv2 (`Dinov2Model`, `Dinov2WithRegistersModel`), frozen. `loading.load_dino` makes one."""

    role = "dino"

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.patch: int = model.config.patch_size  # pixels
        self.width: int = model.config.hidden_size
        self._first_patch = 1 + getattr(model.config, "num_register_tokens", 0)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """[h, w, D] of the tokens of a `height` x `width` px image."""
        return height // self.patch, width // self.patch, self.width

    @torch.inference_mode()
    def encode(self, images_NHWC: np.ndarray, side: int | None = None, batch_size: int = 32) -> np.ndarray:
        """Patch tokens after the last block and norm, float32 [N, h, w, D], of uint8 [N, H, W, 3].

        `side`: height and width in pixels to which images are scaled first; None leaves them. Raises `UserError` on
        clips, and on sizes that are no multiples of the patch.
        """
        if images_NHWC.ndim != 4 or images_NHWC.shape[-1] != 3 or images_NHWC.dtype != np.uint8:
            raise UserError(
                f"DINOv2 reads uint8 pictures [N, H, W, 3], not {images_NHWC.dtype} {images_NHWC.shape}. "
                "Of clips, take frames."
            )
        height, width = (side, side) if side is not None else images_NHWC.shape[1:3]
        if height % self.patch or width % self.patch or 0 in (height, width):
            raise UserError(
                f"Images of {height} x {width} px do not divide into patches of {self.patch} px. "
                f"Use a side that is a multiple of {self.patch}."
            )
        h, w, channels = self.grid(height, width)
        tokens = []
        for start in range(0, len(images_NHWC), batch_size):
            pixels_NCHW = self.processor(
                [torch.tensor(image).permute(2, 0, 1) for image in images_NHWC[start : start + batch_size]],
                size={"height": height, "width": width},
                do_center_crop=False,
                return_tensors="pt",
            )["pixel_values"]
            out_NSD = self.model(pixels_NCHW.to(self.device, self.model.dtype)).last_hidden_state
            tokens.append(out_NSD[:, self._first_patch :].float().cpu().numpy().reshape(-1, h, w, channels))
        return np.concatenate(tokens)


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Dino:
    """Load what `folder` holds, in the hub's layout, without asking the network."""
    model: Any = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True)
    if model.config.model_type not in _CLASSES:
        raise UserError(
            f"{folder} holds a {model.config.model_type}, not a DINOv2. Name one for the role dino in the profile."
        )
    return Dino(model.to(device), AutoImageProcessor.from_pretrained(folder, local_files_only=True))
