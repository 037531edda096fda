"""What a batch of CIFAR-10 goes through before the network."""

from __future__ import annotations

from ._torch import torch

__all__ = ["cifar_batch"]

_MEAN = (125.3, 123.0, 113.9)  # of the training images, by channel
_DEVIATION = (63.0, 62.1, 66.7)
_BORDER = 4


def cifar_batch(x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """uint8 (n, 3, 32, 32) to float32 of mean 0 and deviation 1 over the training images, channels last.

    With a generator (in training), each image is shifted by up to 4 pixels either way, zeros coming in, and mirrored
    half of the time.
    """
    if generator is not None:
        n, _, height, width = x.shape
        shift = torch.randint(0, 2 * _BORDER + 1, (2, n, 1), generator=generator).to(x.device)
        mirrored = (torch.rand(n, 1, generator=generator) < 0.5).to(x.device)
        across = torch.arange(width, device=x.device)
        columns = shift[1] + torch.where(mirrored, width - 1 - across, across)
        rows = shift[0] + torch.arange(height, device=x.device)
        padded = torch.nn.functional.pad(x, (_BORDER,) * 4).permute(0, 2, 3, 1)
        image = torch.arange(n, device=x.device).view(n, 1, 1)
        x = padded[image, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)
    mean = torch.tensor(_MEAN, device=x.device).view(1, 3, 1, 1)
    deviation = torch.tensor(_DEVIATION, device=x.device).view(1, 3, 1, 1)
    return ((x.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)
