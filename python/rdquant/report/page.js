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
    if (reading) reading.textContent = mark.getAttribute("aria-label");
  });
}
// What the mark nearest to the pointer says, beside it.
const bubble = document.body.appendChild(document.createElement("div"));
bubble.className = "bubble";
bubble.hidden = true;
const REACH = 24;  // pixels
for (const drawing of document.querySelectorAll("figure svg")) {
  const marks = [...drawing.querySelectorAll(".mark")];
  const away = (mark, event) => {
    const box = mark.getBoundingClientRect();
    if (!box.width && !box.height) return Infinity;
    const beyond = (low, value, high) => Math.max(low - value, 0, value - high);
    return Math.hypot(beyond(box.left, event.clientX, box.right), beyond(box.top, event.clientY, box.bottom));
  };
  const show = event => {
    const [distance, mark] = marks.map(each => [away(each, event), each])
      .reduce((a, b) => b[0] < a[0] ? b : a, [Infinity, null]);
    bubble.hidden = distance > REACH;
    if (bubble.hidden) return;
    bubble.textContent = mark.getAttribute("aria-label");
    const room = document.documentElement.clientWidth - bubble.offsetWidth - 8;
    bubble.style.left = `${Math.max(8, Math.min(room, event.clientX - bubble.offsetWidth / 2))}px`;
    bubble.style.top = `${Math.max(8, event.clientY - bubble.offsetHeight - 16)}px`;
  };
  drawing.addEventListener("pointermove", show);
  drawing.addEventListener("pointerdown", show);
  drawing.addEventListener("pointerleave", () => { bubble.hidden = true; });
}
