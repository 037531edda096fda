"""Training with compression: the hook on an optimizer's steps. Needs PyTorch."""

from __future__ import annotations

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prune_reference
import rdquant as rdq
from rdquant.errors import InvalidArgument

torch = pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")

from rdquant import train  # noqa: E402 - after the skip
from rdquant.train.compress import prune_tensor  # noqa: E402
from training import digits, network  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # small networks: more would only wait for each other


def one_step(net: Any, optimizer: Any, x: Any, y: Any) -> None:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()


@pytest.mark.parametrize("keep", ["none", "survivors", "all"])
def test_every_step_follows_the_definition(keep: Any) -> None:
    """The hook on SGD against the same training written out in NumPy."""
    gamma, bits, rate = 0.5, 4, 0.1
    (x, y), _ = digits()
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    net = network().to(torch.float64)
    floats = {n: p.detach().numpy().copy() for n, p in net.named_parameters() if p.ndim > 1}
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    hook = train.PruneThenQuantize(net, gamma, bits, keep=keep).attach(optimizer)
    for _ in range(5):
        for name, w in hook.weights.items():
            wanted = prune_reference.prune_quantize(floats[name], gamma, bits)
            assert np.array_equal(w.detach().numpy(), wanted)
            if keep == "none":
                floats[name] = wanted
            elif keep == "survivors":
                floats[name][np.abs(floats[name]) < hook.layers[name].threshold] = 0
        one_step(net, optimizer, x.double(), y)
        for name, w in hook.weights.items():
            floats[name] = torch.from_numpy(floats[name]).add(w.grad, alpha=-rate).numpy()
    assert hook.steps == 5
    total = sum(w.numel() for w in hook.weights.values())
    assert hook.density == sum(int((w != 0).sum()) for w in hook.weights.values()) / total


def test_memory_is_shared_in_any_dense_layout() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        w = torch.randn(8, 4, 3, 3).contiguous(memory_format=layout)
        pointer, before = w.data_ptr(), w.clone()
        assert rdq.prune_quantize(w, 0.5, 3, out=w) is w
        assert w.data_ptr() == pointer
        assert torch.allclose(w, rdq.prune_quantize(before, 0.5, 3), atol=1e-6)
    fresh = rdq.prune_quantize(before, 0.5, 3)
    assert isinstance(fresh, torch.Tensor)
    half = torch.zeros(3, dtype=torch.float16)
    with pytest.raises(InvalidArgument, match="float32 or float64"):
        rdq.prune_quantize(half, 0.5, 3, out=half)


@pytest.mark.parametrize("bits", [2, 8, 32])
def test_operations_for_other_devices_agree(bits: int) -> None:
    w = torch.randn(300, 200)
    wanted = rdq.prune_quantize(w, 0.5, bits)
    done = prune_tensor(w, 0.5, bits)
    assert (
        torch.isclose(w, wanted, atol=1e-6).float().mean() > 0.999
    )  # a weight at a border may fall either way
    assert done.nonzero == int((w != 0).sum())
    assert prune_tensor(torch.zeros(5), 0.5, 8) == (0, 0, 0)
    assert prune_tensor(torch.zeros(0), 0.5, 8) == (0, 0, 0)
    with pytest.raises(InvalidArgument, match="finite"):
        prune_tensor(torch.tensor([float("nan")]), 0.5, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda(tmp_path: Path) -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    hook = train.PruneThenQuantize(net, 0.5, 4)
    train.fit(net, *digits(), optimizer, epochs=2, folder=tmp_path, compression=hook, device="cuda")
    assert 0 < hook.density < 0.9


def test_the_floats_are_seen_only_while_a_step_runs() -> None:
    """Parameters keep their memory; an optimizer that fails half-way leaves all to be done again."""
    (x, y), _ = digits()
    for layout in (torch.contiguous_format, torch.channels_last):
        net = network().to(memory_format=layout)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        hook = train.PruneThenQuantize(net, 0.5, 3, keep="survivors").attach(optimizer)
        w = net[0].weight
        pointer, seen = w.data_ptr(), []
        optimizer.register_step_pre_hook(lambda *_: seen.append(len(w.detach().unique())))  # noqa: B023
        one_step(net, optimizer, torch.from_numpy(x), torch.from_numpy(y))
        assert seen[0] > 9 >= len(w.detach().unique())
        assert w.data_ptr() == pointer
        net.to(memory_format=torch.contiguous_format)  # a new layout between steps
        one_step(net, optimizer, torch.from_numpy(x), torch.from_numpy(y))
        levels, step = hook.levels()["0.weight"]
        assert np.array_equal((levels * np.float32(step)).astype(np.float32), w.detach().numpy())


def test_half_precision_is_compressed_too() -> None:
    net = network().to(torch.bfloat16)
    hook = train.PruneThenQuantize(net, 0.5, 4, keep="survivors")
    hook.step()
    assert 0 < hook.density < 1
    assert len(net[4].weight.detach().unique()) <= 17
    with torch.no_grad():
        net[4].weight[0, 0] = float("nan")
    with pytest.raises(InvalidArgument, match=r"4\.weight: weights hold NaN"):
        hook.step()


def test_a_ramp_has_finite_ends() -> None:
    with pytest.raises(InvalidArgument, match="end: expected a finite number"):
        train.Ramp(0.1, float("nan"))


def test_skip_and_what_is_compressed() -> None:
    net = network()
    assert list(train.PruneThenQuantize(net, 0.5, 4).weights) == ["0.weight", "4.weight"]
    assert list(train.PruneThenQuantize(net, 0.5, 4, skip=["4.*"]).weights) == ["0.weight"]
    for changes, words in (
        ({"skip": "9.*"}, "fits none of 0.weight"),
        ({"skip": "*"}, "no weights"),
        ({"gamma": -1}, "gamma"),
        ({"gamma": train.Ramp(0.1, -1.0), "total_steps": 5}, "gamma"),
        ({"bits": 1}, "bits"),
        ({"bits": train.Stages({0: 8, 0.5: 1}), "total_steps": 5}, "bits"),
        ({"keep": "some"}, "none, survivors, all"),
        ({"gamma": train.Ramp(0, 1)}, "total_steps"),
        ({"total_steps": 0}, "total_steps"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            train.PruneThenQuantize(net, **({"gamma": 0.5, "bits": 4} | changes))


def test_a_weight_that_is_not_finite_is_named() -> None:
    net = network()
    hook = train.PruneThenQuantize(net, 0.5, 4)
    with torch.no_grad():
        net[4].weight[2, 3] = float("inf")
    with pytest.raises(InvalidArgument, match=r"after 1 steps: 4\.weight: weight at index 771 is infinite"):
        hook.step()


def test_attached_twice_compresses_once() -> None:
    nets = [network(), network()]
    for net, times in zip(nets, (1, 2), strict=True):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        hook = train.PruneThenQuantize(net, 0.5, 4)
        for _ in range(times):
            assert hook.attach(optimizer) is hook
        (x, y), _ = digits()
        one_step(net, optimizer, torch.from_numpy(x), torch.from_numpy(y))
        assert hook.steps == 1
    assert torch.equal(nets[0][4].weight, nets[1][4].weight)
    with pytest.raises(InvalidArgument, match="another optimizer"):
        hook.attach(torch.optim.SGD(nets[0].parameters(), lr=0.1))


def test_schedules() -> None:
    ramp = train.Ramp(0.0, 0.8, begin=0.25, finish=0.75, power=3)
    assert [ramp(p) for p in (0, 0.25, 0.75, 1)] == [0, 0, 0.8, 0.8]
    assert ramp(0.5) == pytest.approx(0.8 * (1 - 0.5**3))
    stages = train.Stages({0.5: 4, 0: 32})
    assert [stages(p) for p in (0, 0.49, 0.5, 1)] == [32, 32, 4, 4]
    for wrong in (
        lambda: train.Ramp(0, 1, 0.5, 0.5),
        lambda: train.Ramp(0, 1, power=0),
        lambda: train.Stages({0.1: 4}),
        lambda: train.Stages({}),
        lambda: train.Stages({0: 4, 2: 3}),
    ):
        with pytest.raises(InvalidArgument):
            wrong()
    hook = train.PruneThenQuantize(network(), ramp, stages, total_steps=4)
    seen = []
    for _ in range(4):
        seen.append((hook.now, hook.settled))
        hook.step()
    assert [s[0][1] for s in seen] == [32, 32, 4, 4]
    assert [s[1] for s in seen] == [False, False, False, True]
    assert hook.now == hook.last == (0.8, 4)


def test_state_of_other_trainings_is_refused() -> None:
    state = train.PruneThenQuantize(network(), 0.5, 4, keep="all").state_dict()
    with pytest.raises(InvalidArgument, match="'all'"):
        train.PruneThenQuantize(network(), 0.5, 4).load_state_dict(state)
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    state = train.PruneThenQuantize(net, 0.5, 4, skip="0.*").attach(optimizer).state_dict()
    with pytest.raises(InvalidArgument, match="other layers"):
        train.PruneThenQuantize(network(), 0.5, 4).load_state_dict(state)


# --- decay of rows and columns -------------------------------------------------------------------


def shrunk(w: np.ndarray, amount: float) -> np.ndarray:
    """`GroupDecay` in NumPy: rows, then columns."""
    for axes in (tuple(range(1, w.ndim)), (0, *range(2, w.ndim))):
        rms = np.sqrt(np.mean(w**2, axis=axes, keepdims=True))
        w = w * np.maximum(0, 1 - amount / np.maximum(rms, 1e-30))
    return w


def test_group_decay_follows_its_formula() -> None:
    w = torch.randn(8, 5, 3, 3, dtype=torch.float64)
    w[3] *= 0.01
    w[:, 2] = 0
    before = w.numpy().copy()
    train.GroupDecay(0.5, every=4).apply({"w": w}, {"w": 0.02})
    wanted = shrunk(before, 0.5 * 4 * 0.02)
    assert np.allclose(w.numpy(), wanted, rtol=1e-12, atol=0)
    assert not w[3].any(), "a weak row dies"
    assert np.count_nonzero(wanted) == 7 * 4 * 9
    for wrong in ({"strength": -1}, {"strength": float("nan")}, {"strength": 1, "every": 0}):
        with pytest.raises(InvalidArgument, match="GroupDecay"):
            train.GroupDecay(**wrong)


@pytest.mark.parametrize("keep", ["none", "survivors"])
def test_group_decay_acts_on_the_floats_every_so_many_steps(keep: Any) -> None:
    (x, y), _ = digits()
    x, y = torch.from_numpy(x).double(), torch.from_numpy(y)
    net = network().to(torch.float64)
    groups = [{"params": net[0].parameters(), "lr": 0.1}, {"params": net[4].parameters(), "lr": 0.05}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    hook = train.PruneThenQuantize(net, 0.4, 5, keep=keep, decay=train.GroupDecay(0.01, every=2))
    floats = {n: w.detach().numpy().copy() for n, w in hook.weights.items()}
    hook.attach(optimizer)
    for step in (1, 2, 3, 4):
        for name, w in hook.weights.items():
            if keep == "none":
                floats[name] = w.detach().numpy().copy()
            else:
                floats[name][np.abs(floats[name]) < hook.layers[name].threshold] = 0
        one_step(net, optimizer, x, y)
        for name, rate in (("0.weight", 0.1), ("4.weight", 0.05)):
            w = hook.weights[name]
            floats[name] = floats[name] - rate * w.grad.numpy()
            if step % 2 == 0:
                floats[name] = shrunk(floats[name], 0.01 * 2 * rate)
            wanted = prune_reference.prune_quantize(floats[name], 0.4, 5)
            assert np.allclose(w.detach().numpy(), wanted, atol=1e-12)


def test_group_decay_empties_rows_and_columns() -> None:
    (x, y), _ = digits()
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    empty = []
    for decay in (None, train.GroupDecay(0.2)):
        net = network()
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        train.PruneThenQuantize(net, 0.4, 5, keep="survivors", decay=decay).attach(optimizer)
        for _ in range(60):
            one_step(net, optimizer, x, y)
        empty.append(int((net[4].weight == 0).all(dim=0).sum()))
        net.eval()
        assert (net(x).argmax(dim=1) == y).float().mean() > 0.9
    assert empty[1] > 3 * empty[0] > 0


# --- groups that go --------------------------------------------------------------------------------


def test_the_weakest_rows_go_and_stay_away() -> None:
    (x, y), _ = digits()
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    rows = train.GroupPruning(train.Ramp(1.0, 0.5, 0.0, 0.5), "0.*")
    hook = train.PruneThenQuantize(net, 0.2, 5, keep="survivors", groups=[rows], total_steps=60)
    hook.attach(optimizer)
    outputs = len(net[0].weight)
    before = set(range(outputs))
    for _ in range(60):
        one_step(net, optimizer, x, y)
        now = set(torch.nonzero(net[0].weight.flatten(1).any(dim=1)).flatten().tolist())
        assert now <= before, "a row came back"
        assert len(now) <= math.ceil(rows.share(hook.progress) * outputs)
        assert hook.settled == (hook.steps >= 30)
        before = now
    assert len(before) == math.ceil(outputs / 2)
    net.eval()
    assert (net(x).argmax(dim=1) == y).float().mean() > 0.85


def test_rows_are_ranked_by_their_squares() -> None:
    w = torch.tensor([[3.0, 0.0], [2.0, 2.0], [-2.5, 2.5], [0.1, 0.0]])
    train.GroupPruning(0.5, ["w"]).apply({"w": w, "v": torch.ones(2, 2)}, 1.0)
    assert w.tolist() == [[3.0, 0.0], [0.0, 0.0], [-2.5, 2.5], [0.0, 0.0]]
    train.GroupPruning(0.4, "w", axis=1).apply({"w": w}, 0.0)
    assert w.tolist() == [[3.0, 0.0], [0.0, 0.0], [-2.5, 0.0], [0.0, 0.0]]


def test_group_pruning_says_what_is_wrong() -> None:
    for share in (0.0, 1.5, float("nan"), train.Ramp(1.0, 0.0), train.Stages({0: 1.0, 0.5: 2.0})):
        with pytest.raises(InvalidArgument, match="GroupPruning: expected a share"):
            train.GroupPruning(share, "w")
    with pytest.raises(InvalidArgument, match="expected axis 0"):
        train.GroupPruning(0.5, "w", axis=2)
    with pytest.raises(InvalidArgument, match="at least one layer"):
        train.GroupPruning(0.5, [])
    with pytest.raises(InvalidArgument, match="fits none of"):
        train.PruneThenQuantize(network(), 0.5, 4, groups=[train.GroupPruning(0.5, "5.*")])
    with pytest.raises(InvalidArgument, match="total_steps"):
        train.PruneThenQuantize(network(), 0.5, 4, groups=[train.GroupPruning(train.Ramp(1, 0.5), "0.*")])


def test_groups_go_when_it_is_attached_and_shares_are_exact() -> None:
    net = torch.nn.Linear(5, 100)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for share, rows in ((0.56, 56), (0.28, 28), (0.07, 7)):
        train.GroupPruning(share, "w").apply({"w": net.weight}, 1.0)
        assert int(net.weight.any(dim=1).sum()) == rows
    train.PruneThenQuantize(net, 0.0, 32, groups=train.GroupPruning(0.03, "weight")).attach(optimizer)
    assert int(net.weight.any(dim=1).sum()) == 3


def test_what_is_attached_must_fit() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    hook = train.PruneThenQuantize(net, 0.3, 4)
    for early in (lambda: hook.density, hook.levels, lambda: train.coded_size(hook)):
        with pytest.raises(InvalidArgument, match="nothing is compressed yet"):
            early()
    for wrong in (None, torch.optim.SGD(network().parameters(), lr=0.1)):
        with pytest.raises(InvalidArgument, match="attach: "):
            hook.attach(wrong)
    hook.attach(optimizer)
    with pytest.raises(InvalidArgument, match="compressed after this optimizer's steps already"):
        train.PruneThenQuantize(net, 0.6, 3).attach(optimizer)
    parts = network()
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    train.PruneThenQuantize(parts, 0.3, 4, skip="0.*").attach(optimizer)
    train.PruneThenQuantize(parts, 0.3, 8, skip="4.*").attach(optimizer)


def test_what_was_attached_is_not_kept_alive() -> None:
    net = network()
    hook = train.PruneThenQuantize(net, 0.3, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = [weakref.ref(thing) for thing in (net, optimizer, hook.attach(optimizer))]
    del net, hook, optimizer
    gc.collect()
    assert [ref() for ref in seen] == [None] * 3


def test_steps_of_levels_must_be_finite() -> None:
    for step in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgument, match="finite step"):
            train.level_file({"a": (np.arange(-3, 3, dtype=np.int32), step)})


def test_out_may_not_overlap_in_part() -> None:
    b = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    with pytest.raises(InvalidArgument, match="overlaps w in part"):
        rdq.prune_quantize(b[:900], 0.4, 5, out=b[1:901])
    wanted = rdq.prune_quantize(b, 0.4, 5)
    assert np.array_equal(rdq.prune_quantize(b[:], 0.4, 5, out=b), wanted)
