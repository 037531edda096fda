"""docs/benchmarks.md, its charts and the README's numbers say what benchmarks/results say."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from document.cells import RESULTS, parts, read  # noqa: E402
from document.charts import CHARTS, digest, drawn_from  # noqa: E402
from document.headlines import HEADLINES, NUMBERS, headlines, values  # noqa: E402
from document.page import page  # noqa: E402
from document.topics import TOPICS  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- python benchmarks/table.py --readme: begin -->\n", "<!-- end -->\n"
RENEW = "run: python benchmarks/table.py --write"
SECTIONS = [section for topic in TOPICS for section in topic.sections]


@pytest.mark.parametrize(("option", "written"), [("", PAGE), ("--readme", README)], ids=["page", "readme"])
def test_documents_are_those_of_the_results(option: str, written: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "table.py"), *option.split()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    if option:
        written = written.partition(BEGIN)[2].partition(END)[0]
    assert run.stdout == written, RENEW


def test_another_result_gives_another_number(tmp_path: Path) -> None:
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    result = read("compress", tmp_path)
    assert result is not None
    (row,) = values(result, "nets/squeezenet1.1-7/rows/?limit_loss=0.8")
    row["bits"] += 0.01
    (tmp_path / "compress.json").write_text(json.dumps(result))
    assert headlines(tmp_path) != headlines()
    assert page(tmp_path) != page()


def test_a_number_without_a_result_is_an_error() -> None:
    with pytest.raises(LookupError, match="0 rows with limit_loss = 7"):
        list(values({"rows": [{"limit_loss": 0.8}]}, "rows/?limit_loss=7/bits"))


def test_every_number_of_the_readme_is_a_result() -> None:
    """Outside the generated table only versions, names and exit codes hold digits; in it, only names and results do."""
    names = (
        r"C\+\+20|Python ≥ 3\.10|\bINT8\b|\b8-bit\b|b?float16|[Ff]loat32|SqueezeNet 1\.1|[Tt]op-1|mAP50|CIFAR-10|Apache-2\.0"
        r"|AVX-512|AVX2|opsets up to 24"
    )
    generated = README.partition(BEGIN)[2].partition(END)[0]
    rest = re.sub(r"^```.*?^```$|`[^`\n]+`|\]\([^)]+\)", "", README.replace(generated, ""), flags=re.M | re.S)
    rest = rest.replace(
        "Exit codes: 0 done, 1 the work failed, 2 the command line is wrong, 130 interrupted", ""
    )
    assert re.findall(r"\S*\d\S*", re.sub(names, "", rest)) == []
    templates = " ".join(re.sub(r"\{\w+\}", "", result) for _, result, _ in HEADLINES)
    assert re.findall(r"\S*\d\S*", re.sub(names, "", templates)) == []
    used = {name for _, result, _ in HEADLINES for name in re.findall(r"\{(\w+)\}", result)}
    assert used == set(NUMBERS)
    for name in used:
        assert NUMBERS[name].text() in generated


def test_links_of_the_readme_lead_to_headings() -> None:
    headings = {
        line.lstrip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("##")
    }
    anchors = re.findall(r"docs/benchmarks\.md#([\w-]+)", README)
    assert len(anchors) == len(HEADLINES)
    assert set(anchors) <= headings


def test_every_results_file_has_a_section_with_rows() -> None:
    assert {path.stem for path in RESULTS.glob("*.json")} <= {section.name for section in SECTIONS}
    for section in SECTIONS:
        assert (ROOT / "benchmarks" / f"bench_{section.name}.py").is_file()
        result = read(section.name)
        if result is not None:
            assert [row for _, part in parts(result) for row in section.rows(part)], section.name


def test_every_row_names_its_processor() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    processors = {machine["cpu"] for s in SECTIONS if (found := read(s.name)) for machine, _ in parts(found)}
    assert {row.rstrip(" |").rsplit("| ", 1)[1] for row in rows} == processors | {"processor"}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_show_the_results(name: str) -> None:
    path = ROOT / "docs" / "charts" / f"{name}.png"
    assert drawn_from(path) == digest(name), RENEW
    assert path.stat().st_size < 150_000
    assert f"charts/{name}.png" in PAGE


def test_every_picture_is_a_chart() -> None:
    drawn = {path.name for path in (ROOT / "docs" / "charts").iterdir()}
    assert drawn == {f"{name}.png" for name in CHARTS}


def test_the_price_of_effort_max_is_what_pages_say() -> None:
    rows = json.loads((RESULTS / "codec.json").read_text(encoding="utf-8"))["levels"]
    times = [row["fast_decode_mws"] / row["max_decode_mws"] for row in rows]
    saved = [100 * (1 - row["max"] / row["fast"]) for row in rows]
    said = f"{min(saved):.1f} to {max(saved):.1f} % smaller"
    low, high = 10 * math.floor(min(times) / 10), 10 * math.ceil(max(times) / 10)
    for name in ("how-it-works/coder.md", "how-to/compress-within-a-loss.md"):
        text = " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())
        assert said in text
        assert f"{low} to {high} times as long" in text


def test_a_bar_that_is_missed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import bars_significance

    names = ("significance", "significance_photos", "qat")
    found = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names}
    monkeypatch.setattr(bars_significance, "RESULTS", tmp_path)
    for ratio, outcome in ((0.4, "met"), (0.41, "NOT met")):
        found["significance"]["time"]["ratio"] = ratio
        for name, result in found.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(result))
        bars_significance.main()
        assert capsys.readouterr().out.splitlines()[-1].split(" | ")[2:] == [f"{ratio:.2f}", outcome]
