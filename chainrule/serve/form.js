"use strict";
const answer = document.getElementById("answer");
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const short = (value) =>
  typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(7)) : String(value);
const told = (value) => {
  if (Array.isArray(value)) return value.map(told).join(", ");
  if (value && typeof value === "object")
    return Object.entries(value).map(([name, one]) => `${name}: ${told(one)}`).join(", ");
  return short(value);
};

const table = (head, rows) => {
  const wide = make("div", undefined, "wide"), found = make("table");
  const line = (tag, cells) => {
    const tr = make("tr");
    for (const cell of cells) {
      const td = make(tag);
      td.append(cell instanceof Node ? cell : told(cell));
      tr.append(td);
    }
    return tr;
  };
  if (head) found.append(line("th", head));
  for (const row of rows) found.append(line("td", row));
  wide.append(found);
  return wide;
};

const gauge = (share) => {
  const meter = make("meter");
  meter.value = share;
  return meter;
};

const show = (status, found, one) => {
  answer.replaceChildren();
  if (status !== 200) {
    answer.append(make("p", found.error || "the service did not answer.", "bad"));
    return;
  }
  const rows = found.predictions;
  if (one) {
    const row = rows[0];
    answer.append(make("p", told(row.prediction), "big"));
    if (row.interval) answer.append(make("p", `interval: ${told(row.interval)}`));
    const shares = Object.entries(row.probabilities || {});
    if (shares.length && shares.every(([, share]) => typeof share === "number"))
      answer.append(table(undefined, shares.sort((a, b) => b[1] - a[1]).map(
        ([name, share]) => [name, gauge(share), `${(100 * share).toFixed(1)} %`])));
    else if (shares.length) answer.append(make("p", told(row.probabilities)));
    if (row.quantiles) answer.append(make("p", `quantiles: ${told(row.quantiles)}`));
  } else {
    const names = Object.keys(rows[0]);
    answer.append(table(names, rows.slice(0, 1000).map((row) => names.map((name) => row[name]))));
    if (rows.length > 1000) answer.append(make("p", `and ${rows.length - 1000} more rows`, "faint"));
  }
  for (const note of found.notes || [])
    answer.append(make("p", `row ${note.row}, ${note.column}: ${note.note}`, "warn"));
};

const ask = async (body, kind, one) => {
  try {
    const reply = await fetch("predict", {method: "POST", headers: {"content-type": kind}, body});
    show(reply.status, await reply.json(), one);
    answer.scrollIntoView({block: "nearest"});
  } catch (error) {
    show(0, {error: `the service can't be reached (${error.message}).`}, one);
  }
};

const cell = (field) => {
  const text = field.value;
  if (text.trim() === "") return null;
  const number = field.dataset.kind === "number" ? Number(text) : NaN;
  return Number.isFinite(number) ? number : text;
};
const filled = () => {
  const row = {};
  for (const field of document.querySelectorAll("[data-column]"))
    row[field.dataset.column] = cell(field);
  return row;
};
const form = document.getElementById("one");
const call = document.getElementById("call");
const example = () => {
  const body = form ? JSON.stringify([filled()]) : document.getElementById("rows").value.trim();
  const quoted = body.replaceAll("'", "'\\''");
  call.textContent =
    `curl ${new URL("predict", location.href)} -H 'content-type: application/json' \\\n  -d '${quoted}'`;
};
if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask(JSON.stringify([filled()]), "application/json", true);
  });
  form.addEventListener("input", example);
}
document.getElementById("many").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("rows").value.trim();
  ask(text, /^[[{]/.test(text) ? "application/json" : "text/csv", false);
});
example();
