// Overview, list and question. The address after # says which and with which filters, so that each view has a link:
// #q=<question_id>, #list, #dataset=medqa&reason=wrong_answer&text=…&page=2.

const ROWS_A_PAGE = 25;
const FILTERS = ["text", "everything", "dataset", "status", "reason", "subject"];
const NONE_GIVEN = "(none given)";
const views = Object.fromEntries(["overview", "list", "question"].map((id) => [id, document.getElementById(id)]));
const form = document.querySelector(".filters");
let rows = [];
let turn = 0;

function readAddress() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const filtered = [...FILTERS, "page", "list"].some((name) => asked.has(name));
  return { asked, view: asked.has("q") ? "question" : filtered ? "list" : "overview" };
}

function addressOf(filters, more = {}) {
  const address = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filters, ...more })) if (value) address.set(name, value);
  return `#${address.toString() || "list"}`;
}

function readFilters(asked) {
  return Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) ?? ""]));
}

async function show(event) {
  turn += 1;
  const mine = turn;
  const { asked, view } = readAddress();
  for (const [name, article] of Object.entries(views)) article.hidden = name !== view;
  for (const link of document.querySelectorAll("main > nav a")) {
    const current = (link.hash === "#overview") === (view === "overview");
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  await loaded;
  if (view === "list") await showList(asked, mine);
  if (view === "question") await showOne(asked, mine);
  // Not while someone types into the search field.
  if (!event || mine !== turn) return;
  views[view].focus({ preventScroll: true });
  if (view !== "overview") scrollTo(0, 0);
}

async function showList(asked, mine) {
  const filters = readFilters(asked);
  writeForm(filters);
  const found = await findRows(filters, mine);
  if (found === null) return;
  const pages = Math.max(Math.ceil(found.length / ROWS_A_PAGE), 1);
  const page = Math.min(Math.max(Number(asked.get("page")) || 1, 1), pages);
  say(`${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} questions`);
  const first = (page - 1) * ROWS_A_PAGE;
  const list = document.querySelector(".rows");
  list.start = first + 1;
  list.replaceChildren(...found.slice(first, first + ROWS_A_PAGE).map((row) => listItem(row, filters)));
  const link = (text, to) =>
    to < 1 || to > pages ? muted(text) : element("a", { href: addressOf(filters, { page: to }) }, text);
  const place = element("span", {}, `page ${page} of ${pages.toLocaleString("en")}`);
  document.querySelector("#list .pager").replaceChildren(link("← Previous", page - 1), place, link("Next →", page + 1));
}

function listItem(row, filters) {
  const text = row.question.length > 200 ? `${row.question.slice(0, 199)}…` : row.question;
  const source = [row.dataset, row.subject].filter(Boolean).join(" · ");
  const about = element("span", { class: "about" }, badge(row.reason), source);
  return element("li", {}, element("a", { href: addressOf(filters, { q: row.id }) }, text, about));
}

// What a row counts as in the fields of the form that offer a choice.
function choicesOf({ dataset, reason, subject }) {
  return { dataset, status: reason ? "rejected" : "accepted", reason, subject: subject || NONE_GIVEN };
}

function passes(row, filters) {
  return Object.entries(choicesOf(row)).every(([name, value]) => !filters[name] || filters[name] === value);
}

// Returns the rows that pass the filters, or null where another view was asked for meanwhile.
async function findRows(filters, mine) {
  const words = filters.text.toLowerCase().split(/\s+/).filter(Boolean);
  const passing = rows.filter((row) => passes(row, filters));
  if (!words.length) return passing;
  if (!filters.everything) return passing.filter((row) => words.every((word) => indexHas(row, word)));
  const found = [];
  for await (const part of searchDetails(passing, words)) {
    if (mine !== turn) return null;
    found.push(...part.found);
    say(`${Math.round(100 * part.share)} % searched, ${found.length.toLocaleString("en")} found`);
  }
  return found;
}

async function showOne(asked, mine) {
  const filters = readFilters(asked);
  const row = rows.find(({ id }) => id === asked.get("q"));
  const back = element("a", { href: addressOf(filters) }, "← All questions");
  if (!row) {
    const text = "This page holds no question of this id: it may be among those that report.audit_rows left out.";
    views.question.replaceChildren(element("p", {}, back), element("h1", {}, "No such question"), element("p", {}, text));
    return;
  }
  const details = await readDetails(row.number);
  if (mine !== turn) return;
  const passing = rows.filter((other) => passes(other, filters));
  const place = passing.indexOf(row);
  const neighbor = (text, other) => (other ? element("a", { href: addressOf(filters, { q: other.id }) }, text) : null);
  const links = [back, neighbor("← Previous", passing[place - 1]), neighbor("Next →", passing[place + 1])];
  const pager = element("nav", { class: "pager", "aria-label": "Questions" }, links);
  views.question.replaceChildren(pager, ...showQuestion(row, details));
}

function say(text) {
  document.querySelector(".count").textContent = text;
}

function writeForm(filters) {
  for (const name of FILTERS) {
    const field = form.elements[name];
    if (field.type === "checkbox") field.checked = Boolean(filters[name]);
    else if (field.value !== filters[name]) field.value = filters[name];
  }
}

function fillChoices() {
  for (const name of ["dataset", "status", "reason", "subject"]) {
    const counts = new Map();
    for (const row of rows) {
      const value = choicesOf(row)[name];
      if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const choices = [...counts].toSorted((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    const options = choices.map(([value, count]) =>
      element("option", { value }, `${value} (${count.toLocaleString("en")})`),
    );
    form.elements[name].replaceChildren(element("option", { value: "" }, "all"), ...options);
  }
}

let typing = 0;

function follow() {
  const valueOf = (field) => (field.type === "checkbox" ? field.checked && "1" : field.value);
  const filters = Object.fromEntries(FILTERS.map((name) => [name, valueOf(form.elements[name])]));
  history.replaceState(null, "", addressOf(filters));
  show();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", follow);
form.elements.text.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(follow, 200);
});
addEventListener("hashchange", show);

say("reading the questions …");
const loaded = readIndex().then((read) => {
  rows = read;
  fillChoices();
});
show();
