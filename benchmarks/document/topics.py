"""The sections of docs/benchmarks.md: which results each shows, and how they were measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .cells import Row
from .rows_arm import arm, arm_peers
from .rows_files import codec, compress, trellis
from .rows_inference import accuracy, answers, busy, latency
from .rows_int8 import detect, int8, make, ptq
from .rows_mcu import mcu
from .rows_significance import checks, loss, photos, qat, significance
from .rows_studies import adaptive, fit, memory, quantize, sweep
from .rows_training import prune, train
from .rows_zoo import zoo

__all__ = ["TOPICS", "Section", "Topic"]


class Section(NamedTuple):
    """One results file: results/NAME.json, written by bench_NAME.py."""

    name: str
    title: str
    rows: Callable[[dict[str, Any]], list[Row]]
    how: str
    chart: str = ""  # docs/charts/CHART.png


class Topic(NamedTuple):
    title: str
    sections: tuple[Section, ...]


TOPICS = (
    Topic(
        "Compressed files",
        (
            Section(
                "compress",
                "Whole files",
                compress,
                "Real `.rdq` files, biases and headers included: top-1, and KL divergence from the float network, on 1000 "
                "photos (imagenet-sample). Calibration photos (nips2017-dev) have no labels. "
                "NNCodec's files hold the weights alone, without biases and graph, at several quantization parameters; sizes "
                "are compared at equal KL divergence.",
                "compressed-files",
            ),
            Section(
                "codec",
                "The codec alone",
                codec,
                "The same integers for every coder: weights quantized to 2, 4 and 6 bits of entropy. Decoded levels are "
                "compared before anything is timed; speeds are medians on one thread.",
                "decoding",
            ),
            Section(
                "significance",
                "Bits for critical classes",
                significance,
                "Weights of CIFAR-10 networks rounded at mean widths, by layers' significance for two confused classes; means "
                "over four groups of classes that were fixed beforehand, 20,000 fresh images, 95 % intervals of paired "
                "differences. No training.",
                "critical-classes",
            ),
            Section(
                "significance_photos",
                "Bits for critical classes, photos",
                photos,
                "Half of the photos make the map, the other half measures: so few critical images (258 of SqueezeNet, "
                "24 photos with vehicles of YOLOX-nano) decide no accuracy; losses above the float network's, 95 % intervals "
                "of paired differences.",
            ),
            Section(
                "significance_loss",
                "The loss that critical classes are allocated by",
                loss,
                "The mixture of cross-entropy and divergence that takes of a shift of classes what stands above its noise, on "
                "groups and images that nothing was tuned on, by a rule written beforehand.",
            ),
            Section(
                "significance_checks",
                "What the figures of critical classes depend on",
                checks,
                "The same experiment with plain rounding, with maps of other images, and with a second map around the chosen "
                "widths; significances in float32 against float64; traces by random signs against exact ones.",
            ),
            Section(
                "qat",
                "Trained at mixed widths",
                qat,
                "One epoch of 40,000 training images at the widths of each allocation, against the float network trained on "
                "the same images; measured on 20,000 others, critical figures as means over those groups of classes that every "
                "method was trained for, 95 % intervals of paired differences.",
            ),
            Section(
                "trellis",
                "Trellis quantization",
                trellis,
                "Rate and squared error of the weights, in real bytes; NNCodec's default quantizer is a trellis as well.",
            ),
        ),
    ),
    Topic(
        "INT8",
        (
            Section(
                "make",
                "The files",
                make,
                "The default file of each network: `rdquant quantize` without further options but the preprocessing. "
                "Speed, loss and size in the sections below are those of these files. Calibration images have no "
                "labels: photos of nips2017-dev, CIFAR-10's training images, every second photo of coco-val2017.",
            ),
            Section(
                "int8",
                "INT8 speed",
                int8,
                "All engines run the same QDQ file and the float file, in turns within one process, after their answers were "
                "compared; medians. Layers that the file keeps in float run in float32 on all of them.",
                "int8-latency",
            ),
            Section(
                "ptq",
                "INT8 accuracy",
                ptq,
                "Top-1 and KL divergence to the float network, on our engine and in ONNX Runtime. The peers are "
                "ONNX Runtime's quantize_static (minima and maxima, entropy, percentiles) and nncf.quantize 3.4, calibrated on "
                "as many photos of the same folder; the best of the four is the bar.",
                "int8-accuracy",
            ),
            Section(
                "detect",
                "Detectors",
                detect,
                "mAP by pycocotools on the 128 photos of coco-val2017, and on the half that calibration did not use.",
            ),
        ),
    ),
    Topic(
        "Microcontrollers",
        (
            Section(
                "mcu",
                "C for microcontrollers",
                mcu,
                "MLPerf Tiny's networks with the same integers as their .tflite files, compiled by GCC 12 with -Os and run "
                "under QEMU, answers compared with the reference backend's. tflite-micro's arena is what it takes for "
                "activations. Its published code size is 22 KB (on a Cortex-M3, with the operators of keyword spotting: "
                "TensorFlow's documentation of TensorFlow Lite for Microcontrollers). The entropy is that of each layer's "
                "levels taken one by one: no code of single levels takes fewer bytes.",
            ),
        ),
    ),
    Topic(
        "Float32 inference",
        (
            Section(
                "latency",
                "Float32 speed",
                latency,
                "All engines run the same file, in turns within one process, after their answers were compared; medians. "
                "Memory and first inference are taken in new processes.",
                "float32-latency",
            ),
            Section(
                "busy",
                "Beside a busy core",
                busy,
                "Two threads, while another process keeps one of two cores busy; each engine in a process of its own.",
            ),
            Section(
                "zoo",
                "Many architectures",
                zoo,
                "Architectures of torchvision, timm and transformers, and others, exported with random weights "
                "(`python benchmarks/zoo/export.py`). All engines run the same file, in turns within one process, after their "
                "answers were compared. INT8: convolutional networks quantized statically, others dynamically, the "
                "default files. Memory and the first answer are taken in new processes.",
            ),
            Section(
                "answers", "Answers", answers, "Outputs compared with those of ONNX Runtime, on photographs."
            ),
            Section(
                "accuracy",
                "Accuracy of float32 networks",
                accuracy,
                "Top-1 and top-5, against the figures that came with models and images.",
            ),
        ),
    ),
    Topic(
        "Studies",
        (
            Section(
                "fit",
                "Fitting distributions",
                fit,
                "Families that both packages have, fitted to the same weights on one thread after the fits were compared.",
            ),
            Section(
                "quantize",
                "Quantizers",
                quantize,
                "Quantize and dequantize, against a copy of the same memory and against NumPy.",
            ),
            Section(
                "sweep",
                "Sweeps",
                sweep,
                "A rate–distortion study, against a loop that makes a session of ONNX Runtime for every point.",
            ),
            Section(
                "adaptive",
                "Adaptive sweeps",
                adaptive,
                'How many images `strategy="adaptive"` evaluates until it finds the best choices of the full grid.',
            ),
            Section(
                "memory",
                "Memory",
                memory,
                "Peak resident set of new processes, against the size of the model's file.",
            ),
        ),
    ),
    Topic(
        "Training with compression",
        (
            Section(
                "train",
                "Networks trained small",
                train,
                "A small CNN on CIFAR-10 (JPEG), pruned and quantized after every step. PE is the pruning efficiency of "
                "paper 002; file sizes are those of real `.rdq` files of the compressed layers.",
                "training",
            ),
            Section(
                "prune",
                "Cost of a step",
                prune,
                "Our operator and hook against the same operations in PyTorch, and against a training step.",
            ),
        ),
    ),
    Topic(
        "64-bit ARM, without a board",
        (
            Section(
                "arm",
                "Executed instructions",
                arm,
                "Executed instructions for each multiply-accumulate of INT8, whole convolutions and whole networks, on one "
                "thread under QEMU as a Cortex-A76 (the named processor ran the emulator); outputs compared with the "
                "definition as Cortex-A76 and Cortex-A72. No time of any board. Bound: multiply-accumulates a cycle with two "
                "vector units and four instructions a cycle, without cache misses. The peers' networks were counted in the "
                "same way, on another day. Files by ONNX Runtime's quantizer with int8 activations, but EfficientNet's by "
                "ours: there its biases saturate, and layers stay in float. Roofline: executed instructions at 2.4 GHz with "
                "two vector units, two for loads and stores and four instructions a cycle, divided among cores without loss, "
                "against the bytes of file, input and outputs beyond 4 MiB of caches at 17.1 GB/s: a lower bound for "
                "these kernels; no time was measured. Published figures are of Arm's model cards, whose threads are not shown.",
            ),
            Section(
                "arm_peers",
                "Peers under the same emulator",
                arm_peers,
                "The same files on the wheels for 64-bit ARM of rdquant, ONNX Runtime and ncnn (its own conversion), from "
                "Python, on one thread under QEMU as a Cortex-A76. Instructions for each multiply-accumulate, the call "
                "included. Levels: each step of the network started from the same levels in both engines; some differ by "
                "one level, where a number lies at a tie, or in ONNX Runtime's own softmax of levels. From there differences "
                "grow from layer to layer: ranges and the image are random. Memory: resident pages of what QEMU runs, "
                "without QEMU's, sampled every few milliseconds from the start of Python to the end of the fifth run.",
            ),
        ),
    ),
)
