// Keeps the parts of a page that are live up to date: each is replaced by what the page's address shows now.
"use strict";

async function refresh() {
  if (document.hidden) return;
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    // Whoever is in a part by keyboard would lose their place.
    if (!next || (part !== document.activeElement && part.contains(document.activeElement) && !part.matches("figure"))) continue;
    if (part.matches("figure")) {
      part.querySelector("script").textContent = next.querySelector("script").textContent;
      part.querySelector(".legend").innerHTML = next.querySelector(".legend").innerHTML; // it may have the focus
      draw(part); // of charts.js
    } else {
      part.innerHTML = next.innerHTML;
    }
  }
}
if (document.querySelector("[data-live]")) setInterval(() => refresh().catch(() => {}), 15000);
