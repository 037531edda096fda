"""rdquant.metrics: the thesis' worked examples, scikit-learn as the oracle, evaluate on models made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper
from sklearn import metrics as oracle

import rdquant
from rdquant import metrics
from rdquant.data import ArrayDataset, Digits, ImageArray, ImageFolder
from rdquant.errors import InvalidArgument, Unsupported

TABLE_2_1 = [[40, 10], [5, 45]]
TABLE_2_2 = [[40, 8, 2], [5, 35, 10], [5, 7, 48]]
ASSET = Path(rdquant.__file__).parent / "assets" / "digits.onnx"


def answers(matrix: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions that give this confusion matrix, rows the true class."""
    table = np.array(matrix)
    rows, columns = np.indices(table.shape)
    return np.repeat(rows, table.ravel()), np.repeat(columns, table.ravel())


@pytest.mark.parametrize(
    ("table", "accuracy", "class_accuracy", "precision", "recall", "f1"),
    [
        (TABLE_2_1, 0.85, 0.85, [0.888, 0.8181], [0.8, 0.9], [0.842, 0.857]),
        (TABLE_2_2, 0.7687, 0.7666, [0.8, 0.7, 0.8], [0.8, 0.7, 0.8], [0.8, 0.7, 0.8]),
    ],
)
def test_worked_examples(table, accuracy, class_accuracy, precision, recall, f1):
    labels, predictions = answers(table)
    classes = len(table)
    cut = 1e-3  # the thesis cuts its figures after three or four digits
    assert metrics.confusion_matrix(labels, predictions, classes).tolist() == table
    assert metrics.accuracy(labels, predictions) == pytest.approx(accuracy, abs=cut)
    assert metrics.class_accuracy(labels, predictions) == pytest.approx(class_accuracy, abs=cut)
    np.testing.assert_allclose(metrics.precision(labels, predictions, classes), precision, atol=cut)
    np.testing.assert_allclose(metrics.recall(labels, predictions, classes), recall, atol=cut)
    np.testing.assert_allclose(metrics.f1(labels, predictions, classes), f1, atol=cut)


def test_tables_2_3_and_2_4():
    """Five best classes of Table 2.3 among six; the scenarios of Table 2.4 are classes 0, 3 and 5."""
    scores = np.tile([0.432, 0.281, 0.183, 0.0895, 0.011, 0.0001], (3, 1))
    labels = [0, 3, 5]
    rows = [(scores[[i]], labels[i : i + 1]) for i in range(3)]
    assert [metrics.top_k_accuracy(*row, 1) for row in rows] == [1, 0, 0]
    assert [metrics.top_k_error(*row, 1) for row in rows] == [0, 1, 1]
    assert [metrics.top_k_accuracy(*row, 5) for row in rows] == [1, 1, 0]
    assert [metrics.top_k_error(*row, 5) for row in rows] == [0, 0, 1]
    assert metrics.ranks(scores, labels).tolist() == [1, 4, 6]


@st.composite
def classified(draw):
    classes = draw(st.integers(2, 12))
    count = draw(st.integers(1, 60))
    values = st.integers(-3, 3).map(float)  # few values: ties are common
    scores = draw(hnp.arrays(np.float32, (count, classes), elements=values))
    labels = draw(hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1)))
    return scores, labels, classes


@settings(max_examples=60, deadline=None)
@given(classified())
def test_classification_against_scikit_learn(case):
    scores, labels, classes = case
    guess = metrics.predictions(scores)
    registry = {
        name: metrics.METRICS[name](scores, labels) for name in ("accuracy", "precision", "recall", "f1")
    }
    macro = oracle.precision_recall_fscore_support(labels, guess, average="macro", zero_division=0)
    assert registry["accuracy"] == pytest.approx(oracle.accuracy_score(labels, guess))
    assert [registry[name] for name in ("precision", "recall", "f1")] == pytest.approx(macro[:3])
    balanced = oracle.recall_score(labels, guess, labels=np.unique(labels), average="macro")
    assert metrics.METRICS["class_accuracy"](scores, labels) == pytest.approx(balanced)
    matrix = metrics.confusion_matrix(labels, guess, classes)
    assert (matrix == oracle.confusion_matrix(labels, guess, labels=range(classes))).all()


@settings(max_examples=60, deadline=None)
@given(classified(), st.integers(1, 14))
def test_ranking_against_a_plain_sort(case, k):
    scores, labels, classes = case
    order = np.argsort(-scores, axis=1, kind="stable")  # equal scores: the lowest class first
    place = 1 + np.argmax(order == labels[:, None], axis=1)
    assert (metrics.ranks(scores, labels) == place).all()
    assert (metrics.predictions(scores) == order[:, 0]).all()
    assert metrics.top_k_accuracy(scores, labels, k) == pytest.approx(np.mean(place <= k))
    assert metrics.METRICS["mrr"](scores, labels) == pytest.approx(np.mean(1 / place))
    relevance = np.take_along_axis(np.eye(classes)[labels], order, axis=1)
    assert metrics.METRICS["ndcg"](scores, labels) == pytest.approx(metrics.ndcg(relevance).mean())


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, (5, 7), elements=st.floats(-100, 100, width=32)), st.integers(0, 2**32 - 1))
def test_errors_against_scikit_learn(x, seed):
    y = x + np.random.default_rng(seed).normal(size=x.shape)
    assert metrics.mse(x, y) == pytest.approx(oracle.mean_squared_error(x, y))
    assert metrics.mae(x, y) == pytest.approx(oracle.mean_absolute_error(x, y))
    assert metrics.rmse(x, y) == pytest.approx(metrics.mse(x, y) ** 0.5)
    assert metrics.sse(x, y) == pytest.approx(metrics.mse(x, y) * x.size)
    assert metrics.sae(x, y) == pytest.approx(metrics.mae(x, y) * x.size)


def test_psnr():
    x = np.array([0.0, 255.0, 100.0, 50.0])
    assert metrics.psnr(x, x + 1) == pytest.approx(48.1308, abs=1e-4)
    assert metrics.psnr(x[2:], x[2:] + 1, peak=255) == pytest.approx(48.1308, abs=1e-4)
    assert metrics.psnr(x, x) == np.inf
    with pytest.raises(InvalidArgument, match="peak"):
        metrics.psnr([3.0, 3.0], [3.0, 4.0])


def test_gains_by_hand():
    relevance = [3, 2, 3, 0, 1, 2]
    assert metrics.cumulative_gain(relevance) == 11
    linear = 3 + 2 / 1 + 3 / np.log2(3) + 1 / np.log2(5) + 2 / np.log2(6)
    exponential = 7 + 3 / np.log2(3) + 7 / 2 + 1 / np.log2(6) + 3 / np.log2(7)
    assert metrics.dcg(relevance, "linear") == pytest.approx(linear)
    assert metrics.dcg(relevance) == pytest.approx(exponential)
    assert metrics.ndcg(sorted(relevance, reverse=True)) == pytest.approx(1)
    assert metrics.ndcg([0, 0]) == 0
    assert metrics.mean_reciprocal_rank([1, 2, 4]) == pytest.approx(1.75 / 3)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int64, (3, 6), elements=st.integers(0, 1)))
def test_ndcg_against_scikit_learn(relevance):
    """With relevance 0 or 1 the exponential form is scikit-learn's DCG."""
    places = np.tile(-np.arange(6.0), (3, 1))
    assert metrics.ndcg(relevance).mean() == pytest.approx(oracle.ndcg_score(relevance, places))


def test_nan_scores_are_wrong_answers():
    scores = np.array([[0.9, 0.1], [np.nan, 0.1], [0.1, np.nan]], np.float32)
    labels = np.array([0, 0, 0])
    assert metrics.predictions(scores).tolist() == [0, -1, -1]
    assert metrics.ranks(scores, labels).tolist() == [1, np.inf, np.inf]
    assert metrics.confusion_matrix(labels, metrics.predictions(scores), 2).tolist() == [[1, 0], [0, 0]]
    for name in ("top1", "top5", "accuracy", "class_accuracy", "recall", "mrr", "ndcg"):
        assert metrics.METRICS[name](scores, labels) == pytest.approx(1 / 3), name
    assert metrics.METRICS["top5_error"](scores, labels) == pytest.approx(2 / 3)


def test_infinite_scores_rank():
    assert metrics.ranks([[np.inf, 1.0, -np.inf]], [1]).tolist() == [2]


@pytest.mark.parametrize("labels", [[2], [-1], [0, 1]])
def test_labels_that_do_not_fit_the_scores(labels):
    with pytest.raises(InvalidArgument, match="labels"):
        metrics.ranks([[0.1, 0.9]], labels)


def test_registry_names_and_directions():
    lower = {name for name, metric in metrics.METRICS.items() if not metric.higher_is_better}
    assert lower == {"top1_error", "top5_error", "kl", "mse", "rmse", "mae", "sse", "sae"}
    assert all(metric.name == name and metric.title for name, metric in metrics.METRICS.items())


# --- evaluate --------------------------------------------------------------------------------------


def linear_model(
    path: Path, weight: np.ndarray, batch: int | str = "N", tail: tuple[int, ...] = (), outputs: int = 1
) -> Path:
    """An ONNX file of y = flatten(x) · weight with x [batch, 1, 2, 2], y [batch, classes, *tail]."""
    classes = weight.shape[1]
    shape = np.array([0, classes, *tail], np.int64)
    names = [f"scores{i}" if i else "scores" for i in range(outputs)]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        *(helper.make_node("Reshape", ["product", "shape"], [name]) for name in names),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, 2, 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, classes, *tail]) for name in names],
        [
            numpy_helper.from_array(weight.astype(np.float32), "weight"),
            numpy_helper.from_array(shape, "shape"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 6))


@pytest.fixture
def data() -> ArrayDataset:
    generator = np.random.default_rng(2)
    x = generator.normal(size=(23, 1, 2, 2)).astype(np.float32)
    return ArrayDataset(x, generator.integers(0, 6, 23), batch_size=8, name="noise")


@pytest.mark.parametrize("batch", ["N", 1, 5, 8])
@pytest.mark.parametrize("tail", [(), (1, 1)])
def test_evaluate_is_the_formula_on_the_scores(tmp_path, weight, data, batch, tail):
    model = linear_model(tmp_path / "linear.onnx", weight, batch, tail)
    x, labels = data.get(range(23))
    expected = x.reshape(23, 4) @ weight.astype(np.float32)
    wanted = [*metrics.METRICS, *metrics.TABLES]
    result = rdquant.evaluate(model, data, metrics=wanted, reference=expected)
    np.testing.assert_allclose(result["scores"], expected, rtol=1e-5, atol=1e-6)
    assert (result["predictions"] == expected.argmax(1)).all()
    assert result["images"] == 23
    assert result["top1"] == pytest.approx(np.mean(expected.argmax(1) == labels))
    assert result["confusion"].sum() == 23
    assert result["recall_by_class"].shape == (6,)
    assert result["kl"] == pytest.approx(0, abs=1e-9)
    assert set(result) == {"images", "predictions", *wanted}


def test_outputs_of_chosen_items(tmp_path, weight, data):
    session = rdquant.Session(linear_model(tmp_path / "linear.onnx", weight))
    everything = metrics.outputs(session, data)
    chosen = [20, 3, 3, 11]
    np.testing.assert_allclose(
        metrics.outputs(session, data, chosen), everything[chosen], rtol=1e-5, atol=1e-6
    )
    result = rdquant.evaluate(None, data, session=session, metrics=["top1"])
    assert result["top1"] == metrics.METRICS["top1"](everything, data.labels)


def test_evaluate_refuses(tmp_path, weight, data):
    model = linear_model(tmp_path / "linear.onnx", weight)
    with pytest.raises(InvalidArgument, match="no metric 'top2'"):
        rdquant.evaluate(model, data, metrics=["top2"])
    with pytest.raises(InvalidArgument, match="reference"):
        rdquant.evaluate(model, data, metrics=["kl"])
    with pytest.raises(InvalidArgument, match=r"expected \[23, 6\], got \[22, 6\]"):
        rdquant.evaluate(model, data, metrics=["kl"], reference=np.zeros((22, 6)))
    with pytest.raises(InvalidArgument, match="expected a model"):
        rdquant.evaluate(None, data)
    wide = ArrayDataset(np.zeros((2, 1, 2, 3), np.float32), [0, 1], name="wide")
    with pytest.raises(InvalidArgument, match=r"data: wide: items of shape \[1, 2, 3\].*\[1, 2, 2\]"):
        rdquant.evaluate(model, wide)


def test_label_beyond_the_classes_names_the_item(tmp_path, weight):
    model = linear_model(tmp_path / "linear.onnx", weight)
    data = ArrayDataset(np.zeros((20, 1, 2, 2), np.float32), [0] * 13 + [6] + [1] * 6, batch_size=8)
    with pytest.raises(InvalidArgument, match=r"item 13: label 6 is out of range.*0\.\.5"):
        rdquant.evaluate(model, data)


def test_networks_that_are_no_classifiers(tmp_path, weight, data):
    boxes = linear_model(tmp_path / "boxes.onnx", np.ones((4, 12)))
    graph = onnx.load(boxes)
    graph.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([0, 3, 4], np.int64), "shape"))
    del graph.graph.output[0].type.tensor_type.shape.dim[1:]
    for size in (3, 4):
        graph.graph.output[0].type.tensor_type.shape.dim.add().dim_value = size
    onnx.save(graph, boxes)
    with pytest.raises(Unsupported, match=r"scores \[8, 3, 4\]"):
        rdquant.evaluate(boxes, data)
    two = linear_model(tmp_path / "two.onnx", weight, outputs=2)
    with pytest.raises(InvalidArgument, match=r"several outputs.*scores1"):
        rdquant.evaluate(two, data)
    assert rdquant.evaluate(two, data, output="scores1")["images"] == 23
    with pytest.raises(InvalidArgument, match="no 'boxes'"):
        rdquant.evaluate(two, data, output="boxes")
    one = linear_model(tmp_path / "one.onnx", weight[:, :1])
    with pytest.raises(Unsupported, match=r"only classifiers.*--bits 8 --scope channel"):
        rdquant.evaluate(one, data)


def cast_model(path: Path, dtype: int) -> Path:
    """An ONNX file whose scores are its input [N, 4] of type `dtype`, cast to float32."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["scores"], to=TensorProto.FLOAT)],
        "cast",
        [helper.make_tensor_value_info("x", dtype, ["N", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_inputs_of_other_types(tmp_path, dtype):
    model = cast_model(tmp_path / "cast.onnx", dtype)
    x = np.array([[0, 7, 255, 3], [9, 8, 7, 6]], np.float32)
    result = rdquant.evaluate(model, ArrayDataset(x, [2, 1]), metrics=["top1", "scores"])
    assert (result["scores"] == x).all()
    assert result["top1"] == 0.5
    if dtype == TensorProto.UINT8:
        for wrong in (x + 0.5, x + 1):
            with pytest.raises(InvalidArgument, match="uint8, which does not hold these values"):
                rdquant.evaluate(model, ArrayDataset(wrong, [2, 1]))


def test_two_inputs_are_unsupported(tmp_path):
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("a", "b", "scores")
    ]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["scores"])], "add", ports[:2], ports[2:])
    path = tmp_path / "add.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    with pytest.raises(Unsupported, match="not with 2: a, b"):
        rdquant.evaluate(path, ArrayDataset(np.zeros((2, 4)), [0, 1]))


def test_progress_goes_to_stderr(tmp_path, weight, data, capsys):
    model = linear_model(tmp_path / "linear.onnx", weight)
    rdquant.evaluate(model, data)
    assert capsys.readouterr() == ("", "")
    rdquant.evaluate(model, data, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "image" in err


def test_fewer_classes_than_five(tmp_path, weight, data):
    model = linear_model(tmp_path / "two.onnx", weight[:, :2])
    few = data.take(np.flatnonzero(data.labels < 2))
    assert rdquant.evaluate(model, few)["top5"] == 1


def test_the_digits_network_and_its_test_split():
    assert ASSET.stat().st_size < 200_000
    result = rdquant.evaluate(ASSET, Digits("test"))
    assert result["images"] == 599
    assert result["top1"] >= 0.99
    assert result["top5"] == 1


@pytest.mark.parametrize(
    ("name", "preset", "top1", "top5"),
    [
        ("squeezenet1.1-7", "imagenet", 61.5, 83.1),
        ("mobilenet_v1_0.75", "tf", 85.3, 96.6),
        ("efficientnet_lite0", "efficientnet-lite", 88.0, 97.2),
    ],
)
def test_accuracy_on_real_images(shared_data, name, preset, top1, top5):
    """The figures that came with the images; benchmarks/bench_accuracy.py takes the second folder too."""
    data = ImageFolder(shared_data / "images" / "imagenet-sample", preset)
    result = rdquant.evaluate(shared_data / "models" / f"{name}.onnx", data)
    assert result["top1"] * 100 == pytest.approx(top1, abs=0.3)
    assert result["top5"] * 100 == pytest.approx(top5, abs=0.3)


def test_a_fixed_batch_of_one_and_grey_images(shared_data):
    model = rdquant.load(shared_data / "models" / "mnist-8.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    data = ImageArray(pixels, [0, 1, 2], "mnist")
    session = rdquant.Session(model)
    one_by_one = [metrics.outputs(session, data, [i])[0] for i in range(3)]
    np.testing.assert_allclose(metrics.outputs(session, data), one_by_one, rtol=1e-5)


def test_leads_are_what_the_true_class_is_ahead_by() -> None:
    scores = np.array([[3.0, 1.0, 2.0], [1.0, 4.0, 0.0], [np.nan, 1.0, 2.0]])
    labels = np.array([0, 0, 1])
    np.testing.assert_array_equal(metrics.leads(scores, labels), [1.0, -3.0, -np.inf])
    np.testing.assert_array_equal(metrics.leads(scores, labels, 2), [2.0, 1.0, -np.inf])
    np.testing.assert_array_equal(metrics.leads(scores, labels, 3), [np.inf] * 3)
