"use strict";
const told = document.getElementById("told");
for (const svg of document.querySelectorAll("svg.drawing")) {  // scroll to the first box
  const first = svg.querySelector('[data-i="0"]');
  const frame = svg.parentElement;
  if (first && frame.scrollWidth > frame.clientWidth) {
    const box = first.getBoundingClientRect();
    frame.scrollLeft = box.left + box.width / 2 - frame.getBoundingClientRect().left
      - frame.clientWidth / 2;
  }
}
function light(svg, i) {
  for (const line of svg.querySelectorAll("[data-a]")) {
    const own = line.dataset.a === i || line.dataset.b === i;
    line.classList.toggle(line.classList.contains("wire") ? "dim" : "lit",
                          line.classList.contains("wire") ? i !== null && !own : own);
  }
}
for (const box of document.querySelectorAll("svg.drawing [data-i]")) {
  const svg = box.closest("svg");
  const show = () => {
    told.textContent = box.querySelector("title").textContent;
    light(svg, box.dataset.i);
  };
  for (const event of ["mouseenter", "focus", "click"]) box.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) {
    box.addEventListener(event, () => { told.textContent = ""; light(svg, null); });
  }
}
