"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const descending = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const numeric = head.classList.contains("number");
    const key = row => {
      const cell = row.cells[column];
      const text = cell.dataset.key ?? cell.textContent;
      return numeric || cell.dataset.key && !isNaN(text) ? parseFloat(text) : text;
    };
    const body = table.tBodies[0];
    const rows = [...body.rows].filter(row => !row.classList.contains("made"))
      .map(row => [key(row), row, row.nextElementSibling]);
    const missing = value => typeof value === "number" && isNaN(value);
    rows.sort(([a], [b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
      return descending ? -order : order;
    });
    for (const [, row, below] of rows) {
      body.append(row);
      if (below?.classList.contains("made")) body.append(below);
    }
  }));
}
for (const chip of document.querySelectorAll("[data-series]")) {
  chip.addEventListener("click", () => {
    const shown = chip.getAttribute("aria-pressed") !== "true";
    chip.setAttribute("aria-pressed", String(shown));
    for (const part of document.querySelectorAll(`.series-${chip.dataset.series}`)) {
      part.classList.toggle("hidden", !shown);
    }
  });
}
const reading = document.querySelector(".reading");
for (const mark of document.querySelectorAll(".mark")) {
  mark.addEventListener("click", () => {
    document.querySelectorAll(".chosen").forEach(other => other.classList.remove("chosen"));
    mark.classList.add("chosen");
    reading.textContent = mark.querySelector("title").textContent;
  });
}
