// Elements and marked text. All text from data becomes a text node or an attribute's value, never markup.

function element(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function shape(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

// The offsets in the data count code points, those of a string here UTF-16 units: the latter, by the former.
function unitOffsets(text) {
  const offsets = [0];
  for (const point of text) offsets.push(offsets[offsets.length - 1] + point.length);
  return offsets;
}

function inUnits(text, spans) {
  const offsets = unitOffsets(text);
  return spans.map((span) => ({ ...span, start: offsets[span.start], end: offsets[span.end] }));
}

// Returns the text from start to end as nodes: draw makes one of each span, plain one or more of what lies between. Of spans
// that overlap the first counts, and the longer of two that begin together.
function mark(text, spans, draw, plain = (start, end) => text.slice(start, end), start = 0, end = text.length) {
  const nodes = [];
  let at = start;
  for (const span of spans.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    if (span.start < at || span.end > end) continue;
    if (span.start > at) nodes.push(plain(at, span.start));
    nodes.push(draw(span));
    at = span.end;
  }
  if (at < end) nodes.push(plain(at, end));
  return nodes;
}

// Returns where mentions stand in a text, as whole words: a trace has their texts, not their places. Case counts where the
// mention stands there in its own (CAT is a gene, cat is not).
function findMentions(text, mentions) {
  return mentions.flatMap((mention) => {
    const words = mention.text.split(/\s+/).filter(Boolean).map((word) => word.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
    if (!words.length) return [];
    const pattern = `(?<![\\p{L}\\p{N}])${words.join("\\s+")}(?![\\p{L}\\p{N}])`;
    const found = ["gu", "giu"].map((flags) => [...text.matchAll(new RegExp(pattern, flags))]);
    return (found[0].length ? found[0] : found[1]).map((match) => ({
      ...mention,
      start: match.index,
      end: match.index + match[0].length,
    }));
  });
}
