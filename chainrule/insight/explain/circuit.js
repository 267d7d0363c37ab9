// Steps through a circuit: frame 0 shows the inputs, then each value, then each gradient.
"use strict";
const { formula, frames, values, gradients, edges } = JSON.parse(
  document.getElementById("frames").textContent);
const find = (id) => document.getElementById(id);
const boxes = new Map([...document.querySelectorAll(".box")].map((g) => [g.dataset.step, g]));
const lines = [...document.querySelectorAll(".edge, .local")];
const last = frames.length - 1;
let at = 0, timer = null;

function paragraph(line) {
  const p = document.createElement("p");
  const inner = document.createElement(line.code ? "code" : "span");
  inner.textContent = line.text;
  p.append(inner);
  return p;
}

function underline(span) {
  const place = find("formula");
  if (!place) return;
  const [from, to] = span || [0, 0];
  const mark = document.createElement("mark");
  mark.textContent = formula.slice(from, to);
  place.replaceChildren(formula.slice(0, from), mark, formula.slice(to));
}

function show(frame) {
  at = Math.max(0, Math.min(last, frame));
  const now = frames[at];
  const flag = (part, shown) => part && part.classList.toggle("hidden", !shown);
  for (const [step, box] of boxes) {
    flag(box.querySelector(".value"), values[step] <= at);
    flag(box.querySelector(".gradient"), gradients[step] <= at);
    box.classList.toggle("now", now.step === Number(step));
  }
  for (const line of lines) {
    const { source, target } = line.dataset;
    const reached = edges[source + ">" + target];
    if (line.matches(".local")) flag(line, reached <= at);
    else line.classList.toggle("now", now.kind === "backward" ? reached === at
      : now.step === Number(target));
  }
  if (at > 0) boxes.get(String(now.step))?.scrollIntoView({ block: "nearest" });
  underline(now.span);
  find("said").replaceChildren(...now.lines.map(paragraph));
  find("slider").value = at;
  find("count").textContent = at + " of " + last;
  find("first").disabled = find("back").disabled = at === 0;
  find("next").disabled = find("last").disabled = at === last;
  if (at === last) stop();
}

function stop() {
  clearInterval(timer);
  timer = null;
  find("play").textContent = "Play";
}

function play() {
  if (timer !== null) return stop();
  if (at === last) show(0);
  find("play").textContent = "Pause";
  timer = setInterval(() => show(at + 1), 1600);
}

function step(to) {
  stop();
  show(to);
}

const keys = {
  ArrowRight: () => step(at + 1), ArrowLeft: () => step(at - 1),
  Home: () => step(0), End: () => step(last), " ": play,
};
document.addEventListener("keydown", (event) => {
  const own = event.key === " " && event.target.closest("button, summary");
  if (!(event.key in keys) || own || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
});
for (const [id, act] of [["first", keys.Home], ["back", keys.ArrowLeft], ["play", play],
  ["next", keys.ArrowRight], ["last", keys.End]]) find(id).addEventListener("click", act);
find("slider").addEventListener("input", (event) => step(Number(event.target.value)));
for (const [number, box] of boxes) {
  box.addEventListener("click", () => {
    const mine = frames.flatMap((frame, k) => (frame.step === Number(number) ? [k] : []));
    step(mine.find((k) => k > at) ?? mine[0] ?? at);
  });
}
addEventListener("beforeprint", () => show(last));
show(0);
