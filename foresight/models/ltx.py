"""The VAE of LTX-Video: pictures and clips to latents and back, deterministic and normalised.

Latents are the mode of the posterior, never a sample, and are normalised per channel with the checkpoint's own
`latents_mean` and `latents_std`, as the video transformer gets them. The first frame is a latent frame of its own, so
a still is a clip of one frame, and a clip has 1 + k x the temporal ratio frames.

Shapes: N items, T frames, H x W pixels, C channels; t x h x w latent cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torchvision.transforms.v2 import functional as transforms

from foresight.errors import UserError

VAE_FOLDER = "vae"


class Vae:
    """A loaded LTX VAE (`AutoencoderKLLTXVideo`, which has no types), frozen. `loading.load_vae` makes one."""

    role = "vae"

    def __init__(self, model: Any) -> None:
        if model.config.timestep_conditioning or any(model.config.decoder_inject_noise):
            raise UserError(
                "The decoder of this LTX VAE is conditioned on a timestep or adds noise (LTX-Video 0.9.1 and later), "
                "so that pictures are no function of the latents. Pin a revision of 0.9.0 in the profile."
            )
        self.model = model.eval().requires_grad_(False)
        self.spatial_ratio: int = model.spatial_compression_ratio  # pixels a cell, each way
        self.temporal_ratio: int = model.temporal_compression_ratio  # frames a latent frame, after the first
        self.channels: int = model.config.latent_channels

    @property
    def device(self) -> torch.device:
        return self.model.device

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """[h, w, C] of the latents of a `height` x `width` px still."""
        return height // self.spatial_ratio, width // self.spatial_ratio, self.channels

    @torch.inference_mode()
    def encode(self, images: np.ndarray, side: int | None = None, batch_size: int = 16) -> np.ndarray:
        """Normalised latents, float32, of uint8 stills [N, H, W, 3] -> [N, h, w, C] or clips [N, T, …] -> [N, t, …].

        `side`: height and width in pixels to which pictures are scaled first (bicubic, antialiased); None leaves them.
        Raises `UserError` if height, width or number of frames do not fit the ratios.
        """
        still = images.ndim == 4
        latents = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            video_NCTHW = self._video(batch[:, None] if still else batch, side)
            posterior = self.model.encode(video_NCTHW).latent_dist
            latents.append(self._normalise(posterior.mode()).permute(0, 2, 3, 4, 1).float().cpu().numpy())
        joined = np.concatenate(latents)
        return joined[:, 0] if still else joined

    @torch.inference_mode()
    def decode(self, latents: np.ndarray, batch_size: int = 16) -> np.ndarray:
        """Pictures, float32 in 0..1: [N, h, w, C] -> [N, H, W, 3], [N, t, h, w, C] -> [N, T, H, W, 3]."""
        still = latents.ndim == 4
        if latents.shape[-1] != self.channels:
            raise UserError(f"This VAE decodes latents of {self.channels} channels, not {latents.shape[-1]}.")
        pictures = []
        for start in range(0, len(latents), batch_size):
            batch = np.ascontiguousarray(latents[start : start + batch_size], dtype=np.float32)
            z = torch.from_numpy(batch[:, None] if still else batch).to(self.device)
            pictures.append(self.paint(z).clamp(0, 1).permute(0, 2, 3, 4, 1).cpu().numpy())
        joined = np.concatenate(pictures)
        return joined[:, 0] if still else joined

    def paint(self, latents_NthwC: torch.Tensor) -> torch.Tensor:
        """Clips [N, 3, T, H, W], float32, not cut off at 0 and 1; gradients pass through to the latents."""
        z_NCthw = latents_NthwC.permute(0, 4, 1, 2, 3)
        return self.model.decode(self._denormalise(z_NCthw).to(self.model.dtype)).sample.float() / 2 + 0.5

    def _video(self, clips_NTHWC: np.ndarray, side: int | None) -> torch.Tensor:
        """uint8 to the model's -1..1 [N, 3, T, H, W], checked against the ratios."""
        if clips_NTHWC.ndim != 5 or clips_NTHWC.shape[-1] != 3 or clips_NTHWC.dtype != np.uint8:
            raise UserError(
                f"The VAE reads uint8 pictures [N, H, W, 3] or clips [N, T, H, W, 3], not {clips_NTHWC.dtype} "
                f"{clips_NTHWC.shape}."
            )
        video = torch.tensor(clips_NTHWC).permute(0, 4, 1, 2, 3)
        if side is not None and video.shape[-2:] != (side, side):
            n, channels, frames = video.shape[:3]
            flat = video.transpose(1, 2).flatten(0, 1)
            scaled = transforms.resize(flat, [side, side], transforms.InterpolationMode.BICUBIC, antialias=True)
            video = scaled.reshape(n, frames, channels, side, side).transpose(1, 2)
        frames, height, width = video.shape[2:]
        if height % self.spatial_ratio or width % self.spatial_ratio:
            raise UserError(
                f"Pictures of {height} x {width} px do not divide into cells of {self.spatial_ratio} px. "
                f"Use a side that is a multiple of {self.spatial_ratio}."
            )
        if (frames - 1) % self.temporal_ratio:
            raise UserError(
                f"This VAE takes clips of 1 + k x {self.temporal_ratio} frames, not {frames}. "
                f"Cut them to {1 + (frames - 1) // self.temporal_ratio * self.temporal_ratio}."
            )
        return video.to(self.device, self.model.dtype) / 127.5 - 1

    def _normalise(self, z_NCTHW: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(z_NCTHW)
        return (z_NCTHW - mean) * self.model.config.scaling_factor / std

    def _denormalise(self, z_NCTHW: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics(z_NCTHW)
        return z_NCTHW * std / self.model.config.scaling_factor + mean

    def _statistics(self, z_NCTHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (1, -1, 1, 1, 1)
        return self.model.latents_mean.view(shape).to(z_NCTHW), self.model.latents_std.view(shape).to(z_NCTHW)


def load(folder: Path, device: torch.device, dtype: torch.dtype) -> Vae:
    """Load the VAE of an LTX-Video folder in the hub's layout, without asking the network."""
    model: Any = AutoencoderKLLTXVideo.from_pretrained(
        folder / VAE_FOLDER, dtype=dtype, local_files_only=True, low_cpu_mem_usage=False
    )
    return Vae(model.to(device))
