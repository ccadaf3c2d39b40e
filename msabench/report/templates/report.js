"use strict";
// What one does with the page: sort, filter, choose columns, shade, save what is on screen, open rows. Without it all
// tables are there to read. It changes what is shown and asks nothing of any other place.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const order = new Intl.Collator("en", { numeric: true });
const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -99], End: [0, 99] };
const FORMULA = /^\s*[=+\-@＝＋－＠]/; // what a spreadsheet would take for one

class View {
  constructor(section) {
    this.section = section;
    this.tools = section.querySelector(".tools");
    this.table = section.querySelector("table[role=grid]");
    this.heads = all("thead th", this.table);
    this.rows = all("tbody tr:not(.section)", this.table);
    this.first = new Map(this.rows.map((row, i) => [row, i])); // the order that the report has them in
    this.families = this.familiesOf();
    this.search = this.tools.querySelector("[type=search]");
    this.folds = this.tools.querySelector(".folds");
    this.says = section.querySelector(".says");
    for (const head of this.heads) {
      head.querySelector("button").addEventListener("click", () => this.sort(head));
      if (head.dataset.c && !head.dataset.better) for (const cell of this.cells(head.dataset.c)) cell.classList.add("more");
    }
    this.search.addEventListener("input", () => this.filter());
    this.folds?.addEventListener("change", () => this.filter());
    for (const box of all(".menu input", this.tools)) box.addEventListener("change", () => this.pick(box.value, box.checked));
    this.tools.querySelector(".beside")?.addEventListener("change", ({ target }) => (section.dataset.beside = target.value));
    this.tools.querySelector(".shade")?.addEventListener("change", ({ target }) => section.classList.toggle("heat", target.checked));
    this.tools.querySelector(".csv").addEventListener("click", () => this.save());
    this.tools.querySelector(".paper").addEventListener("click", () => this.paper(true));
    section.querySelector(".leave").addEventListener("click", () => this.paper(false));
    for (const cell of all("tbody td", this.table)) cell.tabIndex = -1;
    const entry = this.table.querySelector("tbody td");
    if (entry) entry.tabIndex = 0;
    this.table.addEventListener("keydown", (event) => this.move(event));
    this.table.addEventListener("focusin", (event) => this.say(event.target));
    this.filter();
  }

  cells(key) {
    return this.rows.map((row) => row.querySelector(`[data-c="${CSS.escape(key)}"]`)).filter(Boolean);
  }

  // By row that may lead: the settings that were not chosen and stand below it.
  familiesOf() {
    const found = new Map();
    let head = null;
    for (const row of this.rows) {
      if (row.classList.contains("fold") && head) found.get(head).push(row);
      else found.set((head = row), []);
    }
    return found;
  }

  sort(head) {
    const best = head.dataset.better === "higher" ? ["descending", "ascending"] : ["ascending", "descending"];
    const cycle = ["none", ...best];
    const next = cycle[(cycle.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
    for (const other of this.heads) other.setAttribute("aria-sort", other === head ? next : "none");
    const sorted = (rows) => rows.sort((a, b) => this.compare(a, b, head.dataset.c, next));
    for (const body of this.table.tBodies) {
      const leads = sorted([...this.families.keys()].filter((row) => row.parentElement === body));
      for (const lead of leads) body.append(lead, ...sorted([...this.families.get(lead)]));
    }
  }

  compare(a, b, key, direction) {
    const given = this.first.get(a) - this.first.get(b);
    if (direction === "none") return given;
    const sign = direction === "ascending" ? 1 : -1;
    if (!key) return sign * order.compare(name(a), name(b)) || given;
    const [x, y] = [a, b].map((row) => row.querySelector(`[data-c="${key}"]`)?.dataset.value || "");
    if (!x || !y) return !x - !y || given; // what has no value stands last, whichever way
    const difference = Number(x) - Number(y);
    return sign * (Number.isNaN(difference) ? order.compare(x, y) : difference) || given;
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const paper = this.section.classList.contains("paper");
    for (const row of this.rows) {
      const found = words.every((word) => name(row).toLowerCase().includes(word));
      const folded = row.classList.contains("fold") && (paper || (!this.folds.checked && !words.length));
      row.hidden = !found || folded;
    }
    for (const section of all("tr.section", this.table))
      section.hidden = !all("tr:not(.section)", section.parentElement).some((row) => !row.hidden);
    const shown = this.rows.filter((row) => !row.hidden).length;
    this.tools.querySelector("output").value = shown < this.rows.length ? `${shown} of ${this.rows.length} rows` : "";
  }

  pick(key, shown) {
    for (const cell of [this.heads.find((head) => head.dataset.c === key), ...this.cells(key)]) cell.hidden = !shown;
  }

  // ---- what is on screen

  lines() {
    const heads = this.heads.filter((head) => !head.hidden);
    const beside = this.tools.querySelector(".beside")?.value ?? "none";
    const wide = (head) => head.dataset.c && head.dataset.c !== "n" && beside !== "none";
    const extra = beside === "interval" ? ["95 % low", "95 % high"] : ["±"];
    const title = (head) => text(head.querySelector("button")).replace(/ [↓↑]$/, "");
    const titles = (head) => [title(head), ...(wide(head) ? extra.map((of) => `${title(head)} ${of}`) : [])];
    const lines = [["section", ...heads.flatMap(titles)]];
    for (const row of this.visible()) {
      const line = [guarded(row.parentElement.dataset.section || "measured")];
      for (const head of heads) {
        if (!head.dataset.c) {
          line.push(guarded(name(row)));
          continue;
        }
        const cell = row.querySelector(`[data-c="${head.dataset.c}"]`);
        const shown = cell.querySelector("b").textContent;
        line.push(shown === "–" ? "" : shown);
        if (!wide(head)) continue;
        const numbers = text(cell.querySelector(`.${beside}`)).match(/-?\d[\d.]*/g) || [];
        line.push(...extra.map((_, i) => numbers[i] ?? ""));
      }
      lines.push(line);
    }
    return lines;
  }

  save() {
    const csv = this.lines().map((line) => line.map(quoted).join(",") + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv], { type: "text/csv" }));
    link.download = "table.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  paper(on) {
    this.section.classList.toggle("paper", on);
    document.body.classList.toggle("paper-view", on);
    this.filter();
    this.section.querySelector(".leave").hidden = !on;
    this.section.querySelector(on ? ".leave" : "button.paper").focus();
    if (on) scrollTo(0, 0);
    else this.tools.scrollIntoView({ block: "center" });
  }

  // ---- by keyboard

  visible() {
    return all("tbody tr:not(.section)", this.table).filter((row) => !row.hidden);
  }

  move(event) {
    const cell = event.target.closest("tbody th, tbody td");
    if (!cell || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && cell.matches("td")) {
      event.preventDefault(); // what the link opens would hear it, and close
      cell.parentElement.querySelector("th a")?.click();
      return;
    }
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const clip = (i, list) => list[Math.max(0, Math.min(list.length - 1, i))];
    const rows = this.visible();
    const cells = (row) => [...row.cells].filter((other) => !other.hidden);
    const row = clip(rows.indexOf(cell.parentElement) + step[0], rows);
    const next = clip(cells(cell.parentElement).indexOf(cell) + step[1], cells(row));
    const target = next.querySelector("a") || next;
    if (next.matches("td")) {
      for (const other of all("td[tabindex='0']", this.table)) other.tabIndex = -1;
      next.tabIndex = 0;
    } else if (target === next) next.tabIndex = -1;
    target.focus();
  }

  say(target) {
    const cell = target.closest("tbody td");
    if (!cell) return;
    const head = this.heads.find((other) => other.dataset.c === cell.dataset.c);
    const words = [name(cell.parentElement), text(head.querySelector("button")), text(cell.querySelector("b")), cell.title];
    this.says.textContent = words.filter(Boolean).join(" · ");
  }
}

const text = (element) => (element ? element.textContent.replace(/\s+/g, " ").trim() : "");
const name = (row) => text(row.querySelector("th a, th span"));
const guarded = (words) => (FORMULA.test(words) ? `'${words}` : words);
const quoted = (words) => (/[",\n]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words);

// ---- the runs of a row

function open(body) {
  const details = body?.closest("details.row");
  if (!details) return;
  details.open = true;
  details.querySelector("summary").focus();
  details.scrollIntoView({ block: "start" });
}

function follow() {
  open(document.getElementById(location.hash.slice(1)));
}

for (const link of all("tbody th a"))
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    follow();
  });

for (const rows of all(".rows")) {
  const list = all(":scope > details.row", rows);
  rows.addEventListener("keydown", (event) => {
    const i = list.findIndex((details) => details.querySelector("summary") === event.target);
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const next = i >= 0 && step ? list[i + step] : null;
    if (!next) return;
    event.preventDefault();
    if (list[i].open) [list[i].open, next.open] = [false, true];
    next.querySelector("summary").focus();
    next.scrollIntoView({ block: next.open ? "start" : "nearest" });
  });
}

for (const figure of all(".forests")) {
  const select = figure.querySelector("select");
  const show = () => all(".forest", figure).forEach((plot) => (plot.hidden = plot.dataset.of !== select.value));
  select.addEventListener("change", show);
  show();
}

for (const element of all(".js")) element.hidden = element.matches(".leave");
const views = all("section.table").map((section) => new View(section));
addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  views.find((view) => view.section.classList.contains("paper"))?.paper(false);
  for (const menu of all(".picker[open]")) menu.open = false;
});
addEventListener("click", (event) => {
  for (const menu of all(".picker[open]")) if (!menu.contains(event.target)) menu.open = false;
});
follow();
