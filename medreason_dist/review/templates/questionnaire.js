// One item at a time; its answers are kept in this browser, saved to a file and loaded from one. What a file holds and which
// digest it has is told in review/answers.py.

const { version, review, reviewer } = document.currentScript.dataset;
const PLACE = `medreason_dist review ${review}`;
const items = [...document.querySelectorAll(".item")];
const links = [...document.querySelectorAll(".places a")];
const told = document.getElementById("told");
let answers = {};

// Answers and fields

function readChoice(fieldset) {
  return fieldset?.querySelector(":checked")?.value ?? null;
}

function readTrace(trace) {
  const grades = [...trace.querySelectorAll(".grade")];
  const ticked = [...trace.querySelectorAll(".wrong :checked")];
  return {
    grades: Object.fromEntries(grades.map((grade) => [grade.dataset.criterion, Number(readChoice(grade)) || null])),
    wrong: Object.fromEntries(ticked.map((box) => [box.value, whyOf(box).value])),
    comment: trace.querySelector("textarea").value,
  };
}

function readItem(item) {
  const traces = [...item.querySelectorAll(".trace")].map((trace) => [trace.dataset.side, readTrace(trace)]);
  return { preference: readChoice(item.querySelector(".preference")), traces: Object.fromEntries(traces) };
}

function writeChoice(fieldset, value) {
  for (const field of fieldset.querySelectorAll("input")) field.checked = field.value === String(value);
}

// Without an answer the fields are cleared.
function writeItem(item, answer) {
  const preference = item.querySelector(".preference");
  if (preference) writeChoice(preference, answer?.preference);
  for (const trace of item.querySelectorAll(".trace")) {
    const { grades, wrong, comment } = answer?.traces[trace.dataset.side] ?? { grades: {}, wrong: {}, comment: "" };
    for (const grade of trace.querySelectorAll(".grade")) writeChoice(grade, grades[grade.dataset.criterion]);
    for (const box of trace.querySelectorAll(".wrong input")) {
      box.checked = Object.hasOwn(wrong, box.value);
      whyOf(box).value = wrong[box.value] ?? "";
    }
    trace.querySelector("textarea").value = comment;
  }
}

function whyOf(box) {
  return box.closest(".step").querySelector(".why");
}

function gradesOf(answer) {
  return Object.values(answer.traces).flatMap(({ grades }) => Object.values(grades));
}

function isDone(answer) {
  const paired = Object.keys(answer.traces).length > 1;
  return gradesOf(answer).every(Boolean) && (!paired || answer.preference !== null);
}

function isBegun(answer) {
  const written = Object.values(answer.traces).some(({ wrong, comment }) => comment || Object.keys(wrong).length);
  return written || answer.preference !== null || gradesOf(answer).some(Boolean);
}

function writeAll(given) {
  for (const item of items) writeItem(item, given?.[item.dataset.item]);
  answers = Object.fromEntries(items.map((item) => [item.dataset.item, readItem(item)]));
  showProgress();
}

// Kept in this browser

function keep() {
  try {
    localStorage.setItem(PLACE, JSON.stringify(answers));
  } catch {
    tell("This browser keeps nothing for this page: save before you close it.", true);
  }
}

function restore() {
  let kept;
  try {
    kept = JSON.parse(localStorage.getItem(PLACE));
  } catch {
    tell("This browser keeps nothing for this page: save before you close it.", true);
  }
  writeAll(kept);
}

function follow(item) {
  answers[item.dataset.item] = readItem(item);
  tell("");
  keep();
  showProgress();
}

// Saved to a file

async function digestOf(content) {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(canonical(content)));
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// As ids.fingerprint writes it: keys sorted, no white space, ASCII alone.
function canonical(value) {
  if (value === null || typeof value !== "object") {
    const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return JSON.stringify(value).replace(/[\u007f-\uffff]/g, escape);
  }
  const pairs = Object.keys(value).toSorted().map((key) => `${canonical(key)}:${canonical(value[key])}`);
  return `{${pairs.join(",")}}`;
}

async function save() {
  if (!crypto.subtle) return tell("This browser cannot save here: open the page in a current Chrome, Edge or Firefox.", true);
  const content = { version: Number(version), review, reviewer, answers };
  const text = JSON.stringify({ ...content, digest: await digestOf(content) }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${reviewer}.json`;
  link.click();
  // Not at once: some browsers read it only after a question where to save.
  setTimeout(() => URL.revokeObjectURL(link.href), 600_000);
  tell(`Saved as ${link.download}, ${doneCount()} of ${items.length} done. Send that file back.`);
}

async function load(file) {
  let content, digest;
  try {
    ({ digest, ...content } = JSON.parse(await file.text()));
    if (content.review !== review) return tell(`${file.name} was saved by another page, not by this one.`, true);
    if (digest !== (await digestOf(content))) return tell(`${file.name} was changed after it was saved.`, true);
  } catch {
    return tell(`${file.name} is not a file that this page saved.`, true);
  }
  const differs = canonical(content.answers) !== canonical(answers);
  const question = "Replace the answers on this page by those of the file?";
  if (differs && Object.values(answers).some(isBegun) && !confirm(question)) return;
  writeAll(content.answers);
  keep();
  tell(`${file.name} is loaded.`);
}

// What is shown

function tell(text, fault = false) {
  told.textContent = text;
  told.classList.toggle("fault", fault);
}

function doneCount() {
  return Object.values(answers).filter(isDone).length;
}

function showProgress() {
  const text = `${doneCount()} of ${items.length} done`;
  const status = document.getElementById("progress");
  // A status that is written is read out.
  if (status.textContent !== text) status.textContent = text;
  document.querySelector("progress").value = doneCount();
  for (const [place, item] of items.entries()) {
    const answer = answers[item.dataset.item];
    const state = isDone(answer) ? "done" : isBegun(answer) ? "begun" : "";
    links[place].className = state;
    links[place].setAttribute("aria-label", `Question ${place + 1}${state && `, ${state}`}`);
  }
}

function showView(event) {
  const wanted = document.getElementById(location.hash.slice(1));
  const view = wanted?.matches(".view") ? wanted : document.getElementById("start");
  for (const each of document.querySelectorAll(".view")) each.hidden = each !== view;
  for (const link of links) {
    if (link.hash === `#${view.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!event) return;
  (view.querySelector("h1[tabindex]") ?? view).focus({ preventScroll: true });
  scrollTo(0, 0);
}

for (const item of items) {
  item.addEventListener("input", () => follow(item));
  item.querySelector(".clear").addEventListener("click", () => {
    writeItem(item);
    follow(item);
  });
}
document.getElementById("save").addEventListener("click", save);
document.getElementById("load").addEventListener("change", async ({ target }) => {
  if (target.files.length) await load(target.files[0]);
  target.value = "";
});
addEventListener("hashchange", showView);

restore();
showView();
// The same page in another tab.
addEventListener("storage", ({ key }) => {
  if (key === PLACE) restore();
});
