// Kept paths as one graph, from the question's entities on the left to the answer's on the right: paths share their nodes.

const NODE = { width: 150, height: 42, gap: 18 };
const GAP = { least: 100, most: 240 };
const CHARACTERS = 21;
const LABEL = { character: 6, height: 15 };
const PLACES = [0.5, 0.36, 0.64, 0.24, 0.76, 0.14, 0.86];

// Returns the drawing, whose edges lie below their labels and these below the nodes, and a function that makes one path stand
// out (by its number; null for none).
function drawPaths(paths, questionNodes, answerNodes) {
  const { nodes, edges } = joinPaths(paths);
  const columns = arrange(nodes, edges);
  const tallest = Math.max(...columns.map((column) => column.length));
  const room = document.querySelector("main").clientWidth - 40 - columns.length * NODE.width;
  const gap = Math.min(Math.max(room / (columns.length - 1), GAP.least), GAP.most);
  const width = columns.length * (NODE.width + gap) - gap + 4;
  const height = tallest * (NODE.height + NODE.gap);
  columns.forEach((column, x) => {
    const top = ((tallest - column.length) * (NODE.height + NODE.gap) + NODE.gap) / 2;
    column.forEach((node, y) => {
      node.x = 2 + x * (NODE.width + gap);
      node.y = top + y * (NODE.height + NODE.gap);
    });
  });
  const labels = [];
  for (const edge of edges) edge.drawn = drawEdge(edge, nodes, gap, labels);
  for (const node of nodes.values()) {
    const side = questionNodes.has(node.index) ? "question" : answerNodes.has(node.index) ? "answer" : "inner";
    node.drawn = [drawNode(node, side)];
  }
  const names = `${nodes.size} nodes and ${edges.length} edges of ${paths.length} paths, which the list below spells out`;
  const drawing = shape(
    "svg",
    { class: "drawing", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Graph of ${names}.` },
    edges.map((edge) => edge.drawn[0]),
    edges.map((edge) => edge.drawn[1]),
    [...nodes.values()].map((node) => node.drawn),
  );
  const choose = (number) => {
    drawing.classList.toggle("chosen", number !== null);
    for (const part of [...nodes.values(), ...edges]) {
      for (const drawn of part.drawn) drawn.classList.toggle("on", part.paths.has(number));
    }
  };
  return { drawing, choose };
}

function joinPaths(paths) {
  const nodes = new Map();
  const edges = new Map();
  paths.forEach((path, number) => {
    path.nodes.forEach((index, place) => {
      const node = nodes.get(index) ?? { index, name: path.names[place], column: 0, last: true, paths: new Set() };
      nodes.set(index, node);
      node.column = Math.max(node.column, place);
      node.last &&= place === path.nodes.length - 1;
      node.paths.add(number);
      if (!place) return;
      const ends = [path.nodes[place - 1], index];
      const edge = edges.get(ends.join()) ?? { ends, relations: path.relations[place - 1], paths: new Set() };
      edges.set(ends.join(), edge);
      edge.paths.add(number);
    });
  });
  return { nodes, edges: [...edges.values()] };
}

// Returns the nodes by column, those of a column in an order in which few edges cross: each node goes to the mean place of its
// neighbors, to and fro (Sugiyama, Tagawa & Toda, IEEE SMC 11:109, 1981).
function arrange(nodes, edges) {
  const longest = Math.max(...[...nodes.values()].map((node) => node.column));
  const columns = Array.from({ length: longest + 1 }, () => []);
  for (const node of nodes.values()) columns[node.last ? longest : node.column].push(node);
  const filled = columns.filter((column) => column.length);
  const place = new Map();
  const note = (column) => column.forEach((node, y) => place.set(node.index, (y + 0.5) / column.length));
  filled.forEach(note);
  for (let sweep = 0; sweep < 6; sweep += 1) {
    for (const column of sweep % 2 ? filled.toReversed() : filled) {
      const means = new Map(column.map((node) => [node, meanPlace(node, edges, place)]));
      column.sort((a, b) => means.get(a) - means.get(b));
      note(column);
    }
  }
  return filled;
}

function meanPlace(node, edges, place) {
  const near = edges.filter((edge) => edge.ends.includes(node.index));
  const places = near.map((edge) => place.get(edge.ends[0] === node.index ? edge.ends[1] : edge.ends[0]));
  return places.length ? places.reduce((sum, one) => sum + one, 0) / places.length : place.get(node.index);
}

function drawNode(node, side) {
  const lines = breakLines(node.name);
  const middle = node.y + NODE.height / 2;
  const text = lines.map((line, number) =>
    shape("text", { x: node.x + 8, y: middle + 4.5 + (number - (lines.length - 1) / 2) * 15 }, line),
  );
  const { width, height } = NODE;
  return shape(
    "g",
    { class: `node ${side}` },
    shape("title", {}, node.name),
    shape("rect", { x: node.x, y: node.y, width, height, rx: 5 }),
    text,
  );
}

function drawEdge(edge, nodes, gap, labels) {
  const [from, to] = edge.ends.map((index) => nodes.get(index));
  const [start, end] = from.x <= to.x ? [from, to] : [to, from];
  const same = start.x === end.x;
  const xs = [start.x + NODE.width, start.x + NODE.width + gap / 2];
  xs.push(same ? xs[1] : end.x - gap / 2, same ? xs[0] : end.x);
  const ys = [start, start, end, end].map((node) => node.y + NODE.height / 2);
  const text = cut(edge.relations, Math.floor(gap / LABEL.character));
  const [x, y] = placeLabel(xs, ys, text.length * LABEL.character, labels);
  const title = () => shape("title", {}, `${from.name} —[${edge.relations}]→ ${to.name}`);
  const d = `M${xs[0]} ${ys[0]}C${xs[1]} ${ys[1]} ${xs[2]} ${ys[2]} ${xs[3]} ${ys[3]}`;
  return [
    shape("path", { class: "edge", d }, title()),
    shape("text", { class: "edge", x, y: y + 4, "text-anchor": "middle" }, text, title()),
  ];
}

// Returns the point of an edge at which its label covers least of the others, and notes it in labels.
function placeLabel(xs, ys, width, labels) {
  const points = PLACES.map((t) => [bezier(xs, t), bezier(ys, t)]);
  const covered = points.map(([x, y]) =>
    labels.reduce((area, other) => {
      const [wide, high] = [(other.width + width) / 2 - Math.abs(other.x - x), LABEL.height - Math.abs(other.y - y)];
      return area + Math.max(wide, 0) * Math.max(high, 0);
    }, 0),
  );
  const [x, y] = points[covered.indexOf(Math.min(...covered))];
  labels.push({ x, y, width });
  return [x, y];
}

function bezier([a, b, c, d], t) {
  const s = 1 - t;
  return s * s * s * a + 3 * s * s * t * b + 3 * s * t * t * c + t * t * t * d;
}

function breakLines(name) {
  if (name.length <= CHARACTERS) return [name];
  const space = name.lastIndexOf(" ", CHARACTERS);
  const end = space > CHARACTERS / 3 ? space : CHARACTERS;
  return [name.slice(0, end), cut(name.slice(end).trim(), CHARACTERS)];
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
