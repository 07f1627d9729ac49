"""Tiny models of the real classes, with random weights, in the layouts of the hub.

What runs on them runs on the real ones: the same classes, processors, configs and file names, only narrower and
shallower. Tests build them in under a second with widths, depths, windows and ratios of their own, so that no shape
of one model is baked into the code; `train_stand_ins` starts from them. A random model says nothing about what a
trained one knows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLLTXVideo
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

PATCH = 14  # pixels, as in every Qwen2.5-VL and DINOv2
MERGE = 2
VAE_FOLDER = "vae"  # where a diffusers pipeline keeps its VAE

_SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_SENTENCES = (
    "system user assistant You are a helpful assistant.",
    "Describe the image.",
    "Where is the red square? It is on the left of the blue circle.",
    "A robot arm moves the cup to the right. Predict the next frame of this video.",
)
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class VlmShape:
    """The shape of a tiny Qwen2.5-VL. The 7B model: 1280 x 32, window 112 px, 3584 x 28, 28 heads, 4 of them keys."""

    vision_width: int = 64
    vision_depth: int = 4
    vision_heads: int = 4
    window: int = 56  # pixels; at 112 px and window 112 there is one window, which hides mistakes of token order
    full_attention: Sequence[int] = (1, 3)  # blocks, from 0, that look beyond their window
    width: int = 128
    depth: int = 4
    heads: int = 4
    key_value_heads: int = 2
    vocabulary: int = 512


@dataclass(frozen=True)
class VaeShape:
    """The shape of a tiny LTX VAE: 4 px patches, halved in space and time by each scaling block.

    `residual` takes the blocks of LTX-Video 0.9.5 (channels grow in the downsampler, shortcuts around every change of
    resolution); without it, those of 0.9.0. Spatial ratio: 4 x 2^k, temporal ratio: 2^k, k = number of scaling blocks.
    """

    latent_channels: int = 32
    channels: Sequence[int] = (32, 64)
    scaling: Sequence[bool] = (True, False)
    residual: bool = True

    @property
    def spatial_ratio(self) -> int:
        return 4 * 2 ** sum(self.scaling)

    @property
    def temporal_ratio(self) -> int:
        return 2 ** sum(self.scaling)


@dataclass(frozen=True)
class DinoShape:
    """The shape of a tiny DINOv2. The large model: 1024 x 24, 16 heads, positions for 518 px."""

    width: int = 96
    depth: int = 4
    heads: int = 4
    side: int = 224  # pixels that the position embeddings are made for; interpolated for others
    registers: int = 0  # 4 in the variant that has them


def build_vlm(folder: Path, shape: VlmShape = VlmShape(), seed: int = 0) -> Path:
    """Save a random Qwen2.5-VL with processor and tokenizer to `folder`, as the hub lays it out; 1.03 M weights."""
    tokenizer: Any = _tokenizer(shape.vocabulary)
    sizes: dict[str, Any] = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        video_processor=Qwen2VLVideoProcessor(**sizes),
        tokenizer=tokenizer,
        chat_template=_CHAT_TEMPLATE,
    )
    token_id = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": shape.vision_width,
            "num_heads": shape.vision_heads,
            "intermediate_size": 2 * shape.vision_width,
            "out_hidden_size": shape.width,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "tokens_per_second": 2,
            "window_size": shape.window,
            "fullatt_block_indexes": list(shape.full_attention),
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.width,
            "intermediate_size": 2 * shape.width,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": _mrope_section(shape.width // shape.heads),
            },
            "bos_token_id": token_id["<|endoftext|>"],
            "eos_token_id": token_id["<|im_end|>"],
            "pad_token_id": token_id["<|endoftext|>"],
        },
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_vae(folder: Path, shape: VaeShape = VaeShape(), seed: int = 0) -> Path:
    """Save a random LTX VAE to `folder`/vae, where the hub's LTX-Video keeps it; 1.28 M weights."""
    blocks = len(shape.channels)
    block, downsample = (
        ("LTXVideo095DownBlock3D", "spatiotemporal") if shape.residual else ("LTXVideoDownBlock3D", "conv")
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae: Any = AutoencoderKLLTXVideo(
            latent_channels=shape.latent_channels,
            block_out_channels=tuple(shape.channels),
            decoder_block_out_channels=tuple(shape.channels),
            down_block_types=(block,) * blocks,
            downsample_type=tuple(downsample if scales else "conv" for scales in shape.scaling),
            upsample_residual=tuple(shape.residual and scales for scales in shape.scaling),
            upsample_factor=(1,) * blocks,
            layers_per_block=(1,) * (blocks + 1),
            decoder_layers_per_block=(1,) * (blocks + 1),
            spatio_temporal_scaling=tuple(shape.scaling),
            decoder_spatio_temporal_scaling=tuple(shape.scaling),
            decoder_inject_noise=(False,) * (blocks + 1),
        )
    vae.save_pretrained(folder / VAE_FOLDER)
    return folder


def build_dino(folder: Path, shape: DinoShape = DinoShape(), seed: int = 0) -> Path:
    """Save a random DINOv2 with its image processor to `folder`, as the hub lays it out; 0.53 M weights."""
    sizes: dict[str, Any] = {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "mlp_ratio": 4,
        "image_size": shape.side,
        "patch_size": PATCH,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = (
            Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, num_register_tokens=shape.registers))
            if shape.registers
            else Dinov2Model(Dinov2Config(**sizes))
        )
    model.save_pretrained(folder)
    processor: Any = BitImageProcessor(  # as the hub's checkpoints have it, centre crop included
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    processor.save_pretrained(folder)
    return folder


def _mrope_section(head_width: int) -> list[int]:
    """Rotary pairs for time, height and width; they must sum to half the head's width."""
    pairs = head_width // 2
    time = pairs // 4
    height = (pairs - time) // 2
    return [time, height, pairs - time - height]


def _tokenizer(vocabulary: int) -> Any:
    """A byte-level BPE of Qwen2's kind, trained on four sentences: it encodes any text, and has the special tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        _SENTENCES, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    model = json.loads(bpe.to_str())["model"]
    arguments: dict[str, Any] = {
        "vocab": model["vocab"],
        "merges": [tuple(merge) for merge in model["merges"]],
        "unk_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": list(_SPECIAL_TOKENS),
        "model_max_length": 32768,
    }
    return Qwen2Tokenizer(**arguments)
