"""The network of paper 002, section III.B."""

from __future__ import annotations

from ._torch import torch

__all__ = ["paper_network"]

_CONVOLUTIONS = [(3, 16, True), (16, 32, True), (32, 48, False), (48, 64, False), (64, 96, False)]


def paper_network(classes: int = 10, dropout: float = 0.2) -> torch.nn.Sequential:
    """Five convolutions with batch norm, two max-poolings, four linear layers, dropout; 3×32×32 to `classes` scores
    (paper 002, section III).

    dropout: share of values dropped, 0..1. 2,018,346 parameters with ten classes (the paper: about 2.1 million, most of them
    in linear layers here as there). It gives no widths and no places of the poolings; these keep an epoch short on
    processors: pooling comes early.

    Paper 002: “Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown.
    """
    nn = torch.nn
    layers: list[torch.nn.Module] = []
    for before, after, pooled in _CONVOLUTIONS:
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
        layers += [nn.MaxPool2d(2)] * pooled + [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers.append(nn.Flatten())
    for before, after, dropped in [(6144, 304, True), (304, 128, True), (128, 64, False)]:
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)] + [nn.Dropout(dropout)] * dropped
    return nn.Sequential(*layers, nn.Linear(64, classes))
