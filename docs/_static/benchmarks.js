// On the page of benchmarks: shows one topic, or the rows that hold some words. Without JavaScript everything is shown.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const page = document.querySelector("section#benchmarks");
  if (!page) return;
  const topics = [...page.children].filter((child) => child.matches("section"));
  let chosen = null; // topic that is shown; null: all

  const bar = document.createElement("div");
  bar.className = "benchmark-filter";
  bar.setAttribute("role", "search");
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "Rows that contain …";
  words.setAttribute("aria-label", "Show rows that contain these words");
  const count = document.createElement("output");
  const buttons = [null, ...topics].map((topic) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = topic ? topic.querySelector("h2").firstChild.textContent : "All topics";
    button.addEventListener("click", () => {
      chosen = topic;
      update();
    });
    bar.append(button, " ");
    return [button, topic];
  });
  bar.append(words, " ", count);
  topics[0].before(bar);

  function update() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = 0;
    for (const topic of topics) {
      for (const part of topic.querySelectorAll("section")) {
        const title = part.querySelector("h3").textContent;
        let found = 0;
        for (const row of part.querySelectorAll("tbody tr")) {
          const text = `${title} ${row.textContent}`.toLowerCase();
          row.hidden = !wanted.every((word) => text.includes(word));
          found += !row.hidden;
        }
        part.hidden = found === 0;
        if (!chosen || chosen === topic) rows += found;
      }
      const empty = ![...topic.querySelectorAll("section")].some((part) => !part.hidden);
      topic.hidden = empty || (chosen !== null && chosen !== topic);
    }
    for (const [button, topic] of buttons) button.setAttribute("aria-pressed", String(topic === chosen));
    count.textContent = `${rows} rows`;
  }

  words.addEventListener("input", update);
  update();
});
