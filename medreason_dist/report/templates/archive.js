// The rows that the page carries: blocks of base64 over zlib over JSON, one row a line (report/archive.py). The index of all
// rows is read when the page opens; the details of a block of rows when one of them is wanted.

const ROWS_A_BLOCK = Number(document.currentScript.dataset.rowsABlock);
const MOST_INFLATED = 8;
const inflated = new Map();

function blocks(kind) {
  return document.querySelectorAll(`script[data-kind="${kind}"]`);
}

async function readLines(block) {
  const bytes = decode(block.textContent);
  const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  return (await text).split("\n");
}

// The first is fifty times as fast (85 ms for 30,000 rows), and not yet in all browsers.
function decode(text) {
  return Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function readIndex() {
  const rows = [];
  for (const block of blocks("index")) {
    for (const line of await readLines(block)) {
      const [id, dataset, subject, reason, question, answer] = JSON.parse(line);
      rows.push({ number: rows.length, id, dataset, subject, reason, question, answer });
    }
  }
  return rows;
}

async function readDetails(number) {
  const place = Math.floor(number / ROWS_A_BLOCK);
  const lines = inflated.get(place) ?? (await readLines(blocks("details")[place]));
  inflated.delete(place);
  inflated.set(place, lines);
  if (inflated.size > MOST_INFLATED) inflated.delete(inflated.keys().next().value);
  return JSON.parse(lines[number % ROWS_A_BLOCK]);
}

function indexHas(row, word) {
  return `${row.question}\n${row.answer}\n${row.id}`.toLowerCase().includes(word);
}

// Yields, block by block, how many blocks are done and which of the rows have each word in their index or their details.
async function* searchDetails(rows, words) {
  const places = Map.groupBy(rows, (row) => Math.floor(row.number / ROWS_A_BLOCK));
  const all = blocks("details");
  let done = 0;
  for (const [place, held] of places) {
    const lines = await readLines(all[place]);
    const found = held.filter((row) => {
      const missing = words.filter((word) => !indexHas(row, word));
      if (!missing.length) return true;
      const line = lines[row.number % ROWS_A_BLOCK];
      // Most rows go without being parsed; the names of columns are no text of the row.
      const lower = line.toLowerCase();
      if (!missing.every((word) => lower.includes(JSON.stringify(word).slice(1, -1)))) return false;
      const texts = [...textsOf(JSON.parse(line))].join("\n").toLowerCase();
      return missing.every((word) => texts.includes(word));
    });
    done += 1;
    yield { share: done / places.size, found };
  }
}

function* textsOf(value) {
  if (typeof value === "string") yield value;
  else if (value && typeof value === "object") for (const held of Object.values(value)) yield* textsOf(held);
}
