"""Makes the stand-ins that ship with the package: `python -m foresight.models.train_stand_ins [--out FOLDER]`.

Three tiny models of the real classes, trained just enough for the demonstration to show something real:

- the VLM's vision tower and merger, by masked reconstruction of pixels at three sizes. Its language model stays
  random: what is measured behind it (X4) says how much a random transformer loses, and nothing about language;
- the LTX VAE, 8x in space and 2x in time, as a variational autoencoder of stills and short clips;
- DINOv2, by masked reconstruction of pixels too, at the same three sizes. The real one learned by self-distillation:
  the stand-in shares its architecture and its lack of language, and nothing else.

Budgets are steps, not seconds, and everything is seeded, so that one machine makes the same weights twice. Other
processors round differently and make others: the shipped hashes, not this script, are their identity. One thread
each: 5 minutes (VLM), 8 (VAE) and 4 (DINOv2) of a core.

Two choices make this short training enough (figures: the VAE on unseen photographs after 70 s on one core): Muon
(Jordan et al. 2024; `torch.optim.Muon`) and not AdamW drives all matrices and kernels, 28.8 dB instead of 21.9; and the
blocks are those of LTX-Video 0.9.5, with shortcuts around the changes of resolution, 28.8 dB instead of 26.7.

What shipped (seed 0): on crops at 112 px of the 19 sources that were not trained on, the VAE's round trip gives 30.5 dB
and SSIM .851 (the mean colour of each crop 15.8 dB); a ridge probe fitted and tested on different sources reads pixels
from X3 at 25.7 dB, from a random tower's at 18.6.
"""

from __future__ import annotations

import argparse
import logging
import math
import shutil
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torch import nn
from transformers import AutoProcessor, Dinov2Model, Qwen2_5_VLForConditionalGeneration
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.vision_utils import get_vision_window_index

from foresight.files import read_json, write_json
from foresight.models import stand_in_pictures
from foresight.models.identity import STAND_INS, write_manifest
from foresight.models.tiny import PATCH, VAE_FOLDER, build_dino, build_vae, build_vlm

logger = logging.getLogger(__name__)

VLM_ID, VAE_ID = "foresight/stand-in-qwen2.5-vl", "foresight/stand-in-ltx-vae"
DINO_ID = "foresight/stand-in-dinov2"
LICENCE = "MIT"


class Trainer:
    """Muon on matrices and kernels (as matrices: outputs x rest), AdamW on the rest; warm-up, then cosine to 1 %."""

    def __init__(self, body: Iterable[nn.Parameter], heads: Iterable[nn.Parameter], steps: int, rate: float) -> None:
        body = list(body)
        self.kernels = [p for p in body if p.ndim >= 2]
        # torch's Muon takes 2-D parameters only: give it views that share the kernels' storage.
        self.matrices = [nn.Parameter(p.detach().flatten(1)) for p in self.kernels]
        self.rest = [*(p for p in body if p.ndim < 2), *heads]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(self.matrices, rate, weight_decay=0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(self.rest, 2e-3, betas=(0.9, 0.99), weight_decay=0),
        ]
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(
                optimizer,
                lambda n: min(1.0, (n + 1) / 20) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * n / steps))),
            )
            for optimizer in self.optimizers
        ]

    def step(self, loss: torch.Tensor) -> None:
        parameters = [*self.kernels, *self.rest]
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()


def train_vae(folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train the LTX VAE of `folder`: |error| + 2 error^2 + 1e-4 KL. One step in four sees clips, the others stills."""
    vae: Any = AutoencoderKLLTXVideo.from_pretrained(folder / VAE_FOLDER).train()
    encoder_out, decoder_out = vae.encoder.conv_out.conv, vae.decoder.conv_out.conv
    with torch.no_grad():
        decoder_out.weight.mul_(0.1)  # starts at mid-grey
        encoder_out.weight[-1].zero_()  # the one log variance of all channels: starts at e^-6
        encoder_out.bias[-1] = -6.0
    stills = stand_in_pictures.stills(1600, 112, seed)
    clips = stand_in_pictures.moving(300, 5, 80, seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer(vae.parameters(), (), steps, rate=2e-3)
    for step in range(steps):
        if step % 4 == 3:
            batch = _crops(clips, 8, 48, rng)
        elif step % 4 == 1:
            batch = _crops(stills, 3, 112, rng)[:, None]
        else:
            batch = _crops(stills, 8, 64, rng)[:, None]
        video = torch.from_numpy(stand_in_pictures.varied(batch, rng)).permute(0, 4, 1, 2, 3)
        posterior = vae.encode(video).latent_dist
        error = vae.decode(posterior.sample()).sample - video
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        trainer.step(error.abs().mean() + 2 * (error**2).mean() + 1e-4 * divergence)
        if step % 100 == 99:
            psnr = -10 * math.log10((error.detach() ** 2).mean().item() / 4)
            sigma = posterior.std.mean().item() / posterior.mean.std().item()
            logger.info("vae step %d of %d: %.1f dB, relative noise %.3f", step + 1, steps, psnr, sigma)
    _set_latent_statistics(vae.eval(), stills[::4])
    vae.half().save_pretrained(folder / VAE_FOLDER)
    return {"seed": seed, "steps": steps, "parameters": sum(p.numel() for p in vae.parameters())}


def train_vlm(folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train tower and merger of the Qwen2.5-VL of `folder` to give back pixels from X2 and from X3, some masked."""
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    tower = model.model.visual.train()
    processor = AutoProcessor.from_pretrained(folder).image_processor
    pixels = 3 * PATCH**2
    merge = tower.spatial_merge_size**2
    from_pre = nn.Linear(tower.config.hidden_size, pixels)
    from_post = nn.Linear(tower.config.out_hidden_size, merge * pixels)
    pools = _pools(seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer(tower.parameters(), [*from_pre.parameters(), *from_post.parameters()], steps, rate=1e-3)
    for step in range(steps):
        images = _stills(pools, step, rng)
        n, side = images.shape[:2]
        size = {"shortest_edge": side**2, "longest_edge": side**2}
        inputs = processor(
            images=[torch.from_numpy(image).permute(2, 0, 1) * 127.5 + 127.5 for image in images],
            size=size,
            return_tensors="pt",
        )
        patches, grid = inputs["pixel_values"], inputs["image_grid_thw"]
        # Both temporal halves of a still are equal: one is the target.
        target = patches.reshape(len(patches), 3, 2, PATCH**2)[:, :, 0].reshape(-1, merge * pixels)
        masked = torch.from_numpy((rng.random(len(target)) < 0.3) & np.repeat(rng.random(n) < 0.5, len(target) // n))
        seen = patches.reshape(len(target), merge, -1).masked_fill(masked[:, None, None], 0.0)
        out = tower(seen.reshape(len(patches), -1), grid_thw=grid)
        order, _ = get_vision_window_index(
            grid, spatial_merge_size=tower.spatial_merge_size, window_size=tower.window_size, patch_size=PATCH
        )
        loss_pre = (from_pre(out.last_hidden_state).reshape(-1, merge * pixels) - target[order]).square().mean()
        loss_post = (from_post(out.pooler_output) - target).square().mean()
        trainer.step(loss_pre + loss_post)
        if step % 100 == 99:
            logger.info("vlm step %d of %d: X2 %.4f, X3 %.4f", step + 1, steps, loss_pre.item(), loss_post.item())
    model.eval().half().save_pretrained(folder)
    return {"seed": seed, "steps": steps, "parameters": sum(p.numel() for p in model.parameters())}


def train_dino(folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """Train the DINOv2 of `folder` to give back the pixels of every patch from its token, 40 % of them masked."""
    model: Any = Dinov2Model.from_pretrained(folder).train()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    to_pixels = nn.Linear(model.config.hidden_size, 3 * PATCH**2)
    pools = _pools(seed)
    rng = np.random.default_rng(seed)
    trainer = Trainer(model.parameters(), to_pixels.parameters(), steps, rate=1e-3)
    for step in range(steps):
        images = torch.from_numpy(_stills(pools, step, rng)).permute(0, 3, 1, 2) / 2 + 0.5
        images = (images - mean) / std
        target = nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)  # [N, patches, 3 * 14 * 14]
        masked = torch.from_numpy(rng.random(target.shape[:2]) < 0.4)
        tokens = model(images, bool_masked_pos=masked).last_hidden_state[:, 1:]
        error = (to_pixels(tokens) - target).square().mean(-1)
        trainer.step(error.mean())
        if step % 100 == 99:
            seen, hidden = error[~masked].mean().item(), error[masked].mean().item()
            logger.info("dino step %d of %d: seen %.4f, masked %.4f", step + 1, steps, seen, hidden)
    model.eval().half().save_pretrained(folder)
    return {"seed": seed, "steps": steps, "parameters": sum(p.numel() for p in model.parameters())}


def _pools(seed: int) -> dict[int, np.ndarray]:
    """Stills by side."""
    return {side: stand_in_pictures.stills(n, side, seed) for side, n in ((112, 1200), (168, 500), (224, 300))}


def _stills(pools: dict[int, np.ndarray], step: int, rng: np.random.Generator) -> np.ndarray:
    """The batch of a step, float32 [N, S, S, 3] in -1..1; sides take turns, and all have about as many patches."""
    side, n = ((112, 32), (168, 14), (112, 32), (224, 8))[step % 4]
    return stand_in_pictures.varied(pools[side][rng.integers(len(pools[side]), size=n)], rng)


def _crops(pool: np.ndarray, n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """`n` random items of [N, (T,) S, S, 3], all cut to the same random square."""
    top, left = rng.integers(pool.shape[-2] - side + 1, size=2)
    return pool[rng.integers(len(pool), size=n)][..., top : top + side, left : left + side, :]


@torch.inference_mode()
def _set_latent_statistics(vae: Any, stills: np.ndarray) -> None:
    """Mean and standard deviation of each latent channel over stills, as the real checkpoints have them."""
    latents = []
    for chunk in np.array_split(stills, max(1, len(stills) // 20)):
        video = torch.from_numpy(chunk).permute(0, 3, 1, 2)[:, :, None].float() / 127.5 - 1
        latents.append(vae.encode(video).latent_dist.mode().transpose(0, 1).flatten(1))
    channels = torch.cat(latents, dim=1)
    vae.latents_mean.copy_(channels.mean(1))
    vae.latents_std.copy_(channels.std(1))


def _tidy(folder: Path) -> None:
    """Weights that everyone may read, and no trace in a config of the folder where they were made."""
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)
    for file in folder.rglob("config.json"):
        config = read_json(file)
        config.pop("_name_or_path", None)
        write_json(file, config)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the stand-in models that ship with the package.")
    parser.add_argument("--out", type=Path, help="folder for the models (default: where the shipped ones lie)")
    parser.add_argument("--only", choices=("vlm", "vae", "dino"), help="train one of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vlm-steps", type=int, default=800)
    parser.add_argument("--vae-steps", type=int, default=2400)
    parser.add_argument("--dino-steps", type=int, default=1200)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    for role, id, build, train, steps in (
        ("vlm", VLM_ID, build_vlm, train_vlm, arguments.vlm_steps),
        ("vae", VAE_ID, build_vae, train_vae, arguments.vae_steps),
        ("dino", DINO_ID, build_dino, train_dino, arguments.dino_steps),
    ):
        if arguments.only not in (None, role):
            continue
        target = arguments.out / STAND_INS[id].name if arguments.out else STAND_INS[id]
        with tempfile.TemporaryDirectory() as temporary:
            folder = build(Path(temporary), seed=arguments.seed)
            torch.manual_seed(arguments.seed)
            made = {
                "script": "python -m foresight.models.train_stand_ins",
                "pictures": list(stand_in_pictures.SOURCES),
                "drawn_from_seed": stand_in_pictures.STAND_IN_SEEDS_FROM,
                "versions": {name: version(name) for name in ("torch", "transformers", "diffusers", "numpy")},
                **train(folder, steps, arguments.seed),
            }
            _tidy(folder)
            manifest = write_manifest(folder, id=id, licence=LICENCE, stand_in=True, made=made)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder, target)
        logger.info("%s: revision %s in %s", id, manifest.revision, target)


if __name__ == "__main__":
    main()
