"""The networks of the zoo: name, family, and how PyTorch builds each.

Weights are random, with a fixed seed: answers and times need no trained ones. Everything comes from kept libraries
(torchvision, timm, transformers), so that the graphs are those that users export.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Built = tuple[Any, tuple[Any, ...]]
"""A torch module, and the tensors that it is called with."""


@dataclass(frozen=True)
class Network:
    """One network of the zoo.

    family: "convnet", "transformer" or "other", by which the geometric means are taken.
    exporter: "script" (PyTorch's first exporter) or "dynamo".
    precision: "float32", "float16" (throughout), or "bfloat16" (weights alone, with a Cast behind each).
    dynamic: the batch is left open.
    """

    name: str
    family: str
    build: Callable[[], Built]
    exporter: str = "script"
    opset: int = 17
    precision: str = "float32"
    dynamic: bool = False


def _images(*shape: int) -> Any:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _timm(name: str, size: int, **options: Any) -> Callable[[], Built]:
    def build() -> Built:
        import timm

        return timm.create_model(name, pretrained=False, **options), (_images(1, 3, size, size),)

    return build


def _torchvision(name: str, *shape: int, **options: Any) -> Callable[[], Built]:
    def build() -> Built:
        models = importlib.import_module("torchvision.models")
        return models.get_model(name, weights=None, **options), (_images(1, *shape),)

    return build


def _segmentation(name: str, size: int) -> Callable[[], Built]:
    """A torchvision network that answers with a dictionary, of which the scores are kept."""

    def build() -> Built:
        import torch

        class Scores(torch.nn.Module):
            def __init__(self, inner: torch.nn.Module) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.inner(x)["out"]

        models = importlib.import_module("torchvision.models")
        inner = models.get_model(name, weights=None, weights_backbone=None, aux_loss=False)
        return Scores(inner), (_images(1, 3, size, size),)

    return build


def _first_answer(module: Any) -> Any:
    """The module with its first answer alone, as a tensor."""
    import torch

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return self.inner(*inputs, return_dict=False)[0]

    return First()


def _first_answer_unmasked(module: Any) -> Any:
    """The same for a causal network, told that it has no padding: else it looks for packed sequences by an operator
    (diff) that ONNX lacks."""
    import torch

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner(tokens, attention_mask=torch.ones_like(tokens), return_dict=False)[0]

    return First()


def _text(kind: str, length: int = 64, **options: Any) -> Callable[[], Built]:
    """A transformer for text of the library transformers, of four layers unless `options` say otherwise."""

    def build() -> Built:
        import torch
        import transformers

        config = getattr(transformers, f"{kind}Config")(**options)
        config._attn_implementation = "eager"
        model = getattr(transformers, f"{kind}Model")(config)
        if hasattr(config, "use_cache"):
            config.use_cache = False
        tokens = torch.randint(5, 1000, (1, length), generator=torch.Generator().manual_seed(1))
        causal = kind in ("GPT2", "GPTNeoX", "Llama", "Qwen2", "CLIPText")
        return (_first_answer_unmasked if causal else _first_answer)(model), (tokens,)

    return build


def _signal(kind: str, *shape: int, **options: Any) -> Callable[[], Built]:
    """A transformer for sound or images of the library transformers."""

    def build() -> Built:
        import transformers

        config = getattr(transformers, f"{kind}Config")(**options)
        config._attn_implementation = "eager"
        return _first_answer(getattr(transformers, f"{kind}Model")(config)), (_images(*shape),)

    return build


def _module(make: str) -> Callable[[], Built]:
    def build() -> Built:
        modules = importlib.import_module("zoo.modules")
        return getattr(modules, make)()

    return build


_BERT = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
_GPT = {"n_embd": 256, "n_layer": 4, "n_head": 4}
_LLAMA = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 688,
    "vocab_size": 2000,
}
_SOUND = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}

NETWORKS: tuple[Network, ...] = (
    # Convolutional networks for images.
    *(
        Network(name, "convnet", _torchvision(name, 3, 224, 224))
        for name in (
            "alexnet",
            "resnet18",
            "resnet50",
            "resnext50_32x4d",
            "wide_resnet50_2",
            "densenet121",
            "googlenet",
            "vgg11_bn",
            "mobilenet_v2",
            "mobilenet_v3_small",
            "mobilenet_v3_large",
            "mnasnet1_0",
            "shufflenet_v2_x1_0",
            "efficientnet_b0",
            "efficientnet_v2_s",
            "regnet_y_400mf",
            "regnet_x_800mf",
            "convnext_tiny",
        )
    ),
    Network("inception_v3", "convnet", _torchvision("inception_v3", 3, 299, 299, init_weights=False)),
    *(
        Network(name, "convnet", _timm(name, 224))
        for name in (
            "resnest14d",
            "skresnet18",
            "res2net50_26w_4s",
            "ghostnet_100",
            "rexnet_100",
            "repvgg_a0",
            "dla34",
            "hrnet_w18_small",
            "cspresnet50",
            "darknet53",
            "ese_vovnet19b_dw",
            "hardcorenas_a",
            "lcnet_050",
            "mixnet_s",
            "tinynet_a",
            "xception41",
            "nf_resnet50",
            "eca_nfnet_l0",
            "selecsls42b",
            "gernet_s",
            "fbnetv3_b",
            "semnasnet_100",
            "dpn68",
            "convnextv2_atto",
            "efficientnet_es",
            "mobileone_s0",
            "fastvit_t8",
            "starnet_s1",
            "inception_next_tiny",
        )
    ),
    # Transformers and mixers for images.
    *(
        Network(name, "transformer", _timm(name, 224))
        for name in (
            "vit_tiny_patch16_224",
            "deit_tiny_patch16_224",
            "swin_tiny_patch4_window7_224",
            "swin_s3_tiny_224",
            "cait_xxs24_224",
            "pit_ti_224",
            "mixer_s32_224",
            "gmlp_ti16_224",
            "resmlp_12_224",
            "poolformer_s12",
            "levit_128s",
            "xcit_nano_12_p16_224",
            "mobilevit_s",
            "mobilevitv2_050",
            "edgenext_xx_small",
            "efficientformer_l1",
            "efficientvit_b0",
            "efficientvit_m0",
            "pvt_v2_b0",
            "twins_pcpvt_small",
            "crossvit_tiny_240",
            "coat_tiny",
            "visformer_tiny",
            "tnt_s_patch16_224",
            "maxvit_nano_rw_256",
            "coatnet_nano_rw_224",
            "davit_tiny",
            "focalnet_tiny_srf",
            "hiera_tiny_224",
            "beit_base_patch16_224",
            "gcvit_xxtiny",
            "nest_tiny",
            "sequencer2d_s",
        )
        if name not in ("crossvit_tiny_240", "maxvit_nano_rw_256")
    ),
    Network("crossvit_tiny_240", "transformer", _timm("crossvit_tiny_240", 240)),
    Network("maxvit_nano_rw_256", "transformer", _timm("maxvit_nano_rw_256", 256)),
    *(
        Network(f"{name}-dynamo", family, _timm(name, 224), "dynamo", 18)
        for name, family in (
            ("resnet18", "convnet"),
            ("mobilenetv3_small_100", "convnet"),
            ("vit_tiny_patch16_224", "transformer"),
            ("swin_tiny_patch4_window7_224", "transformer"),
            ("convnext_atto", "convnet"),
            ("eva02_tiny_patch14_224", "transformer"),  # the first exporter refuses its attention
        )
    ),
    # Half precision, opsets from 11 to 20, batches left open.
    *(
        Network(f"{name}-{precision}", family, _timm(name, 224), precision=precision)
        for name, family in (
            ("resnet18", "convnet"),
            ("mobilenetv3_small_100", "convnet"),
            ("vit_tiny_patch16_224", "transformer"),
        )
        for precision in ("float16", "bfloat16")
    ),
    *(
        Network(f"{name}-opset{opset}", family, _timm(name, 224), opset=opset, dynamic=True)
        for name, family, opset in (
            ("resnet18", "convnet", 11),
            ("mobilenetv3_small_100", "convnet", 14),
            ("vit_tiny_patch16_224", "transformer", 15),
            ("convnext_atto", "convnet", 20),
        )
    ),
    # Text.
    Network("bert", "transformer", _text("Bert", **_BERT)),
    Network("bert-dynamo", "transformer", _text("Bert", **_BERT), "dynamo", 18),
    Network(
        "distilbert", "transformer", _text("DistilBert", dim=256, n_layers=4, n_heads=4, hidden_dim=1024)
    ),
    Network("albert", "transformer", _text("Albert", **_BERT)),
    Network("electra", "transformer", _text("Electra", **_BERT)),
    Network("deberta", "transformer", _text("Deberta", **_BERT)),
    Network("gpt2", "transformer", _text("GPT2", **_GPT)),
    Network("gpt_neox", "transformer", _text("GPTNeoX", **_BERT, vocab_size=2000)),
    Network("gpt2-dynamo", "transformer", _text("GPT2", **_GPT), "dynamo", 18),
    Network("llama", "transformer", _text("Llama", **_LLAMA)),
    Network("llama-float16", "transformer", _text("Llama", **_LLAMA), precision="float16"),
    Network("bert-float16", "transformer", _text("Bert", **_BERT), precision="float16"),
    Network("clip_text", "transformer", _text("CLIPText", **_BERT, vocab_size=2000)),
    Network("qwen2", "transformer", _text("Qwen2", **_LLAMA)),
    Network(
        "opt",
        "transformer",
        _text(
            "OPT",
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            ffn_dim=1024,
            word_embed_proj_dim=256,
        ),
    ),
    # Sound.
    Network("wav2vec2", "other", _signal("Wav2Vec2", 1, 16000, **_SOUND)),
    Network("ast", "transformer", _signal("AST", 1, 1024, 128, **_SOUND)),
    # Segmentation, super-resolution, video, recurrent and small plain ones.
    Network("deeplabv3_mobilenet_v3_large", "other", _segmentation("deeplabv3_mobilenet_v3_large", 224)),
    Network("lraspp_mobilenet_v3_large", "other", _module("lraspp")),
    Network("fcn_resnet50", "other", _segmentation("fcn_resnet50", 160)),
    Network("r3d_18", "other", _torchvision("r3d_18", 3, 8, 64, 64)),
    Network("mc3_18", "other", _torchvision("mc3_18", 3, 8, 64, 64)),
    Network("s3d", "other", _torchvision("s3d", 3, 16, 224, 224)),
    *(
        Network(name, "other", _module(name))
        for name in (
            "unet",
            "unet_bilinear",
            "espcn",
            "srresnet",
            "dcgan",
            "vae",
            "tcn",
            "wavenet",
            "m5",
            "crnn",
            "lstm",
            "gru",
            "bilstm_text",
            "conv_tasnet",
            "pointnet",
            "autoencoder",
            "textcnn",
            "mlp",
        )
    ),
)
