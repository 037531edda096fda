"""Networks of the zoo that no kept library has: a class of PyTorch modules each, as their papers draw them, smaller."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from zoo.networks import Built


def _images(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def _block(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Ronneberger et al. 2015, with half of the channels."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        sizes = [32, 64, 128, 256]
        self.down = nn.ModuleList([_block(3, 32), *(_block(a, b) for a, b in pairwise(sizes))])
        self.up = nn.ModuleList()
        for a, b in pairwise(sizes[::-1]):
            grown: nn.Module = nn.ConvTranspose2d(a, b, 2, stride=2)
            if bilinear:
                grown = nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), nn.Conv2d(a, b, 1)
                )
            self.up.append(nn.ModuleList([grown, _block(2 * b, b)]))
        self.last = nn.Conv2d(32, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for (grow, block), side in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([grow(x), side], 1))
        return self.last(x)


def unet() -> Built:
    return UNet(False), (_images(1, 3, 128, 128),)


def unet_bilinear() -> Built:
    return UNet(True), (_images(1, 3, 128, 128),)


def espcn() -> Built:
    """Shi et al. 2016: sub-pixel convolution."""
    body = [nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*body, nn.Conv2d(32, 9, 3, padding=1), nn.PixelShuffle(3)), (
        _images(1, 1, 120, 160),
    )


class _Residual(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(n, n, 3, padding=1), nn.PReLU(n), nn.Conv2d(n, n, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def srresnet() -> Built:
    """Ledig et al. 2017, with four blocks."""
    up = [nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), nn.PReLU(64)]
    body = [nn.Conv2d(3, 64, 9, padding=4), nn.PReLU(64), *(_Residual(64) for _ in range(4)), *up]
    return nn.Sequential(*body, nn.Conv2d(64, 3, 9, padding=4)), (_images(1, 3, 64, 64),)


def dcgan() -> Built:
    """Radford et al. 2016: a generator of 64×64 images by transposed convolutions."""
    layers: list[nn.Module] = []
    sizes = [100, 256, 128, 64, 32]
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [
            nn.ConvTranspose2d(a, b, 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh()), (_images(1, 100, 1, 1),)


def vae() -> Built:
    """An autoencoder of convolutions with strides and transposed ones."""
    down: list[nn.Module] = []
    up: list[nn.Module] = []
    sizes = [3, 32, 64, 128]
    for a, b in pairwise(sizes):
        down += [nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.SiLU()]
        up = [nn.ConvTranspose2d(b, a, 3, 2, 1, output_padding=1), nn.LeakyReLU(0.1), *up]
    return nn.Sequential(*down, *up), (_images(1, 3, 96, 96),)


class _Causal(nn.Module):
    """One step of a temporal network: a dilated convolution that sees the past only."""

    def __init__(self, n: int, dilation: int, gated: bool) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.gated = gated
        self.conv = nn.Conv1d(n, 2 * n if gated else n, 3, dilation=dilation)
        self.mix = nn.Conv1d(n, n, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(nn.functional.pad(x, (self.pad, 0)))
        if self.gated:
            a, b = y.chunk(2, 1)
            y = torch.tanh(a) * torch.sigmoid(b)
        return x + self.mix(torch.relu(y))


def tcn() -> Built:
    body = [nn.Conv1d(16, 64, 1), *(_Causal(64, 2**i, False) for i in range(6)), nn.Conv1d(64, 10, 1)]
    return nn.Sequential(*body), (_images(1, 16, 400),)


def wavenet() -> Built:
    body = [nn.Conv1d(1, 32, 1), *(_Causal(32, 2 ** (i % 5), True) for i in range(10)), nn.Conv1d(32, 64, 1)]
    return nn.Sequential(*body), (_images(1, 1, 4000),)


def m5() -> Built:
    """Dai et al. 2017: 1-D convolutions on raw sound."""
    layers: list[nn.Module] = []
    sizes = [1, 32, 32, 64, 64]
    for i, (a, b) in enumerate(pairwise(sizes)):
        kernel, stride = (80, 16) if i == 0 else (3, 1)
        layers += [nn.Conv1d(a, b, kernel, stride), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 35)), (
        _images(1, 1, 16000),
    )


class Recurrent(nn.Module):
    """A recurrent layer between others; its answers at every time."""

    def __init__(self, before: nn.Module, layer: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before, self.layer, self.after = before, layer, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.layer(self.before(x))[0])


class _Columns(nn.Module):
    """Images as sequences of their columns."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1, 2).transpose(1, 2)


def crnn() -> Built:
    """Shi et al. 2017: text in images."""
    body = [
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    layer = nn.LSTM(64 * 8, 128, bidirectional=True, batch_first=True)
    return Recurrent(nn.Sequential(*body, _Columns()), layer, nn.Linear(256, 37)), (_images(1, 1, 32, 128),)


def lstm() -> Built:
    return Recurrent(nn.Identity(), nn.LSTM(40, 128, 2, batch_first=True), nn.Linear(128, 29)), (
        _images(1, 100, 40),
    )


def gru() -> Built:
    return Recurrent(nn.Identity(), nn.GRU(40, 128, 2, batch_first=True), nn.Linear(128, 29)), (
        _images(1, 100, 40),
    )


def bilstm_text() -> Built:
    layer = nn.LSTM(128, 128, bidirectional=True, batch_first=True)
    tokens = torch.randint(0, 1000, (1, 50), generator=torch.Generator().manual_seed(1))
    return Recurrent(nn.Embedding(1000, 128), layer, nn.Linear(256, 9)), (tokens,)


class _Separator(nn.Module):
    """Luo and Mesgarani 2019, much smaller: masks over a learned transform of sound."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(1, 128, 16, 8, bias=False)
        steps: list[nn.Module] = [nn.GroupNorm(1, 128), nn.Conv1d(128, 64, 1)]
        for i in range(6):
            steps.append(_Depthwise(64, 128, 2**i))
        self.separator = nn.Sequential(*steps, nn.PReLU(), nn.Conv1d(64, 256, 1), nn.Sigmoid())
        self.decoder = nn.ConvTranspose1d(128, 1, 16, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coded = self.encoder(x)
        masks = self.separator(coded).view(2, 128, -1)
        return self.decoder(coded * masks)


class _Depthwise(nn.Module):
    def __init__(self, n: int, wide: int, dilation: int) -> None:
        super().__init__()
        conv = nn.Conv1d(wide, wide, 3, padding=dilation, dilation=dilation, groups=wide)
        self.body = nn.Sequential(
            nn.Conv1d(n, wide, 1), nn.PReLU(), nn.GroupNorm(1, wide), conv, nn.PReLU(), nn.Conv1d(wide, n, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def conv_tasnet() -> Built:
    return _Separator(), (_images(1, 1, 8000),)


class _PointNet(nn.Module):
    """Qi et al. 2017, without its transforms."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((3, 64), (64, 128), (128, 512)):
            layers += [nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU()]
        self.points = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 40))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.points(x).max(2)[0])


def pointnet() -> Built:
    return _PointNet(), (_images(1, 3, 1024),)


def autoencoder() -> Built:
    """Of MLPerf Tiny: anomalies in the sound of machines."""
    sizes = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 640)), (_images(1, 640),)


class _TextCnn(nn.Module):
    """Kim 2014."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1000, 128)
        self.convolutions = nn.ModuleList(nn.Conv1d(128, 100, k) for k in (3, 4, 5))
        self.last = nn.Linear(300, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens).transpose(1, 2)
        return self.last(torch.cat([torch.relu(c(x)).amax(2) for c in self.convolutions], 1))


def textcnn() -> Built:
    return _TextCnn(), (torch.randint(0, 1000, (1, 64), generator=torch.Generator().manual_seed(1)),)


def mlp() -> Built:
    return nn.Sequential(
        nn.Linear(784, 512), nn.GELU(), nn.Linear(512, 512), nn.GELU(), nn.Linear(512, 10)
    ), (_images(1, 784),)


class _Scores(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)["out"]


def lraspp() -> Built:
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return _Scores(lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)), (_images(1, 3, 224, 224),)
