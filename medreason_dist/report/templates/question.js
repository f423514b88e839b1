// One question, from its text to its verdict.

const SIDES = ["question", "answer"];
const ALONG_GRAPH = document.getElementById("question").dataset.method !== "plain_cot";

function showQuestion(row, details) {
  return [
    element("h1", {}, badge(row.reason), `${row.dataset} ${details.id_in_dataset ?? ""}`),
    element("p", { class: "about" }, [row.subject, `id ${row.id}`].filter(Boolean).join(" · ")),
    ...questionSection(row, details),
    verdictSection(row, details),
    ...(ALONG_GRAPH ? [...entitySection(details), ...pathSection(details)] : []),
    ...reasoningSection(details),
    ...recordSection(details),
  ].filter(Boolean);
}

function badge(reason) {
  return element("span", { class: reason ? "badge" : "badge accepted" }, reason ?? "accepted");
}

// Question, options, verdict

function questionSection(row, details) {
  const mentions = Map.groupBy(details.mentions ?? [], (mention) => mention.side);
  const [asked, answer] = SIDES.map((side) => (text) => markMentions(text, mentions.get(side) ?? [], side));
  const options = (details.options ?? []).map((option) => showOption(option, details, answer));
  return [
    heading("Question"),
    element("p", { class: "text" }, asked(row.question)),
    details.context ? folded("Context", element("p", { class: "text context" }, details.context)) : null,
    options.length
      ? element("ol", { class: "options" }, options)
      : element("p", { class: "text" }, "Right answer: ", answer(row.answer)),
    mentions.size ? legend(...SIDES.map((side) => [element("mark", { class: side }, "mention"), ` in the ${side}`])) : null,
  ];
}

function showOption({ label, text }, details, markAnswer) {
  const [right, given] = [details.answer_label, details.answer_from_reasoning].map((labels) =>
    (labels ?? "").split(",").includes(label),
  );
  const notes = [right && "right", given && "given from the reasoning alone"].filter(Boolean).join(", ");
  return element(
    "li",
    { class: `${right ? "right" : ""} ${given ? "given" : ""}` },
    `${label}. `,
    right ? markAnswer(text) : text,
    notes ? muted(` (${notes})`) : null,
  );
}

function markMentions(text, mentions, side) {
  return mark(text, findMentions(text, mentions), (span) => {
    const title = `${span.type ?? "any type"}, found by ${span.found_by}`;
    return element("mark", { class: side, title }, text.slice(span.start, span.end));
  });
}

function verdictSection(row, details) {
  const { judge, answer_label: label } = details;
  const lines = [
    ["Answer from the reasoning alone", details.answer_from_reasoning],
    ["Right answer", label ? `${label}. ${row.answer}` : row.answer],
    ["Judged", judge ? `${judge.verdict} by ${judge.by}` : null],
    ["Conclusion", details.conclusion],
  ];
  return element(
    "section",
    { class: row.reason ? "verdict" : "verdict accepted", "aria-label": "Verdict" },
    element("strong", {}, row.reason ? `Rejected: ${row.reason}` : "Accepted"),
    details.reject_detail ? element("p", {}, details.reject_detail) : null,
    lines.filter(([, value]) => value).map(([name, value]) => element("p", {}, muted(`${name}: `), value)),
  );
}

// Entities and paths

function entitySection(details) {
  const entities = SIDES.flatMap((side) =>
    (details[`${side}_entities`] ?? []).map((entity) => ({ side, ...entity })),
  );
  const rows = entities.map(({ name, type, side, mention, linked_by, score }) => [
    name,
    type,
    side,
    mention,
    linked_by,
    score?.toFixed(2),
  ]);
  const names = ["node", "type", "side", "mention", "linked by", "score"];
  const linked = new Set(entities.map(({ side, mention }) => `${side} ${mention}`));
  const others = (details.mentions ?? [])
    .filter(({ side, text }) => !linked.has(`${side} ${text}`))
    .map(({ side, text, found_by }) => `${text} (${side}, by ${found_by})`);
  return [
    heading("Entities"),
    rows.length ? table("Nodes of the graph that mentions were linked to", names, rows) : element("p", {}, "None."),
    others.length ? element("p", {}, muted(`Mentions without an entity of their own: ${others.join(", ")}.`)) : null,
  ];
}

function pathSection(details) {
  const paths = details.paths ?? [];
  const candidates = (details.candidate_path_count ?? 0).toLocaleString("en");
  const count = element("p", {}, `${paths.length} kept of ${candidates} shortest paths between these entities.`);
  if (!paths.length) return [heading("Paths"), count];
  const ends = SIDES.map((side) => new Set((details[`${side}_entities`] ?? []).map((entity) => entity.node_index)));
  const { drawing, choose } = drawPaths(paths, ...ends);
  const items = paths.map((path, number) => {
    const why = ` · rank ${path.rank}, ${path.reason || "no reason noted"}`;
    const item = element("li", { tabindex: 0 }, spellPath(path), element("span", { class: "relation" }, why));
    for (const event of ["mouseenter", "focus"]) item.addEventListener(event, () => choose(number));
    for (const event of ["mouseleave", "blur"]) item.addEventListener(event, () => choose(null));
    return item;
  });
  const reading =
    "Rank is by the path degree product among the pair's candidates. A path that is pointed at, or focused, stands out.";
  return [
    heading("Paths"),
    count,
    element("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Graph of the kept paths" }, drawing),
    element("p", { class: "muted" }, reading),
    element("ol", { class: "paths" }, items),
  ];
}

function spellPath(path) {
  const relation = (place) => element("span", { class: "relation" }, ` —[${path.relations[place - 1]}]→ `);
  return path.names.flatMap((name, place) => (place ? [relation(place), name] : [name]));
}

// Reasoning

function reasoningSection(details) {
  const text = details.reasoning;
  if (text === undefined) return [];
  const grounding = details.grounding ?? {};
  const steps = inUnits(text, grounding.steps ?? []);
  const named = inUnits(text, grounding.named ?? []);
  const drawNamed = ({ start, end, name, on_path }) => {
    const title = `${name}, ${on_path ? "on" : "not on"} a kept path`;
    return element("mark", { class: on_path ? "on-path" : "off-path", title }, text.slice(start, end));
  };
  const markNamed = (start, end) => mark(text, named, drawNamed, undefined, start, end);
  const drawStep = (step) => {
    const { kind, sign, title } = judgeStep(step);
    const signed = sign ? element("span", { class: "sign", role: "img", "aria-label": title }, sign) : null;
    return element("span", { class: `step ${kind}`, title }, markNamed(step.start, step.end), signed);
  };
  const nothing = element("p", { class: "muted" }, "The row does not say what of it stands on the graph.");
  return [
    heading("Reasoning"),
    element("p", { class: "text reasoning" }, mark(text, steps, drawStep, markNamed)),
    steps.length || named.length ? reasoningLegend() : ALONG_GRAPH ? nothing : null,
    ...scoreLine(grounding),
    ...claimTable(details, grounding),
  ];
}

function judgeStep({ claims }) {
  if (!claims?.length) return { kind: "", sign: null, title: null };
  const supported = claims.filter(({ relations }) => typeof relations === "string").length;
  const title = `${supported} of ${claims.length} claims have an edge in the graph`;
  const whole = supported === claims.length;
  return { kind: whole ? "supported" : "unsupported", sign: whole ? "✓" : "?", title };
}

function reasoningLegend() {
  const step = (kind, sign) =>
    element("span", { class: `step ${kind}` }, "step", element("span", { class: "sign" }, sign));
  return legend(
    [element("mark", {}, "entity"), " on a kept path"],
    [element("mark", { class: "off-path" }, "entity"), " on none"],
    [step("supported", "✓"), " each claim has an edge in the graph"],
    [step("unsupported", "?"), " a claim has none"],
  );
}

function scoreLine(grounding) {
  const { path_nodes: nodes, path_nodes_named: named, path_edges: edges, path_edges_used: used } = grounding;
  const scores = ["coverage", "support", "off_path"].filter((name) => typeof grounding[name] === "number");
  const parts = scores.map((name) => `${name.replace("_", " ")} ${grounding[name].toFixed(2)}`);
  if (typeof nodes === "number") parts.push(`names ${named} of ${nodes} nodes of the paths`);
  if (typeof edges === "number") parts.push(`uses ${used} of ${edges} edges`);
  return parts.length ? [element("p", { class: "muted" }, parts.join(" · "))] : [];
}

function claimTable(details, grounding) {
  const names = new Map();
  for (const path of details.paths ?? []) path.nodes.forEach((node, place) => names.set(node, path.names[place]));
  const entities = SIDES.flatMap((side) => details[`${side}_entities`] ?? []);
  for (const { node_index, name } of [...entities, ...(grounding.named ?? [])]) names.set(node_index, name);
  const nameOf = (node) => names.get(node) ?? `node ${node}`;
  const rows = (grounding.steps ?? []).flatMap((step, number) =>
    (step.claims ?? []).map(({ src, dst, relations, on_path }) => [
      String(number + 1),
      nameOf(src),
      relations ?? "no edge in the graph",
      nameOf(dst),
      on_path ? "yes" : "no",
    ]),
  );
  const caption = "What each step puts together, and what the graph has of it";
  const columns = ["step", "from", "relations", "to", "on a kept path"];
  return rows.length ? [folded(`Claims of its steps: ${rows.length}`, table(caption, columns, rows))] : [];
}

// What it took

function recordSection(details) {
  const { model, judge_model: judge, attempts, latency_s: seconds, finished_at: finished } = details;
  const facts = [
    model && `model ${model}`,
    judge && `judge ${judge}`,
    typeof attempts === "number" && `${attempts} ${attempts === 1 ? "attempt" : "attempts"}`,
    typeof seconds === "number" && `${seconds.toFixed(2)} s`,
    finished && `finished at ${finished.slice(0, 19)} UTC`,
  ];
  const stages = (details.usage ?? []).map(({ stage, ...used }) => {
    const numbers = [used.requests, used.prompt_tokens, used.completion_tokens, used.replayed_tokens];
    return [stage, ...numbers.map((number) => number?.toLocaleString("en"))];
  });
  const columns = ["stage", "requests", "prompt", "completion", "replayed"];
  const prompts = (details.prompts ?? []).map(({ stage, version, sha256 }) => [stage, version, sha256]);
  const versions = table("Prompts by stage", ["stage", "version", "SHA-256"], prompts);
  return [
    heading("What it took"),
    element("p", { class: "about" }, facts.filter(Boolean).join(" · ")),
    stages.length ? table("Requests and tokens by stage", columns, stages, 1) : null,
    prompts.length ? folded("Prompts", versions) : null,
  ];
}

// Parts

function heading(text) {
  return element("h2", {}, text);
}

function muted(text) {
  return element("span", { class: "muted" }, text);
}

function folded(summary, content) {
  return element("details", {}, element("summary", {}, summary), content);
}

function legend(...items) {
  return element("ul", { class: "legend" }, items.map((item) => element("li", {}, item)));
}

// Cells from the column `numbers` on are numbers.
function table(caption, names, rows, numbers = Infinity) {
  const cell = (tag, scope) => (text, place) =>
    element(tag, { scope, class: place >= numbers ? "number" : null }, text ?? "–");
  const body = rows.map(([first, ...others]) =>
    element("tr", {}, cell("th", "row")(first, 0), others.map((text, place) => cell("td")(text, place + 1))),
  );
  return element(
    "div",
    { class: "wide" },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, names.map(cell("th", "col")))),
      element("tbody", {}, body),
    ),
  );
}
