import { DIFFUSERS, OURS, WITHOUT_AMX } from "./participants.mjs";
import { times } from "./table.mjs";

const PANELS = ["UNet step", "decode", "50 steps + decode"];
const LABELS = {
  [DIFFUSERS]: "diffusers (float32)",
  [OURS]: "latent-diffusion",
  [WITHOUT_AMX]: "latent-diffusion, no AMX",
  "optimize: false": "latent-diffusion, exact",
};
const [WIDTH, NAMES, VALUES, GAP, BAR, PITCH, HEAD] = [480, 178, 112, 24, 14, 21, 46];

// Greys and a blue that can be read on white and on dark pages; a viewer that knows its page's scheme gets the better of two.
const STYLE =
  `text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#59636e}.head{font-size:13px;font-weight:600}.ours{fill:#0969da;font-weight:600}` +
  ".bar{fill:#a8b1bb}.bar.ours{fill:#0969da}@media (prefers-color-scheme:dark){text{fill:#9da7b3}.ours{fill:#4493f8}.bar{fill:#535b66}.bar.ours{fill:#4493f8}}";

/**
 * Draw how long everyone takes: a column a dtype, a panel a measurement, bars from the fastest down, each with how many
 * times as fast as diffusers it is, and its time. The bars of one measurement have one scale in all dtypes.
 * @param {readonly object[]} results of one machine, as bench/run.mjs makes them
 * @returns {string} SVG
 */
export function drawPlot(results) {
  const columns = [...results].sort((a, b) => (a.dtype < b.dtype ? 1 : -1));
  const rowsOf = ({ rows }, panel) =>
    rows.filter(({ measurement }) => measurement === panel).sort((a, b) => a.ratio - b.ratio);
  const parts = [];
  let y = HEAD;
  for (const panel of PANELS) {
    const here = columns.map((result) => rowsOf(result, panel));
    if (here.every((rows) => rows.length === 0)) continue;
    const longest = Math.max(...here.flat().map(({ value }) => value));
    here.forEach((rows, i) =>
      parts.push(...drawPanel(panel, rows, columns[i].dtype, { x: i * (WIDTH + GAP), y, longest })),
    );
    y += Math.max(...here.map((rows) => rows.length)) * PITCH + HEAD;
  }
  const width = columns.length * (WIDTH + GAP) - GAP;
  const title = `<text class="head" x="0" y="14">How many times as fast as diffusers as it comes, and the time</text>`;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y - HEAD + 8}" width="${width}" height="${y - HEAD + 8}" role="img">` +
    `<style>${STYLE}</style>${title}${parts.join("")}</svg>\n`
  );
}

function drawPanel(panel, rows, dtype, { x, y, longest }) {
  const scale = (WIDTH - NAMES - VALUES) / longest;
  const bars = rows.map(({ name, value, ratio }, i) => {
    const [top, side] = [y + 12 + i * PITCH, x + NAMES];
    const mark = name === OURS ? " ours" : "";
    const figure = `${times(1 / ratio)} · ${longest < 10_000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(1)} s`}`;
    return (
      `<text class="${mark.trim()}" x="${side - 8}" y="${top + 11}" text-anchor="end">${LABELS[name] ?? name}</text>` +
      `<rect class="bar${mark}" x="${side}" y="${top}" width="${(value * scale).toFixed(1)}" height="${BAR}" rx="2"/>` +
      `<text class="${mark.trim()}" x="${(side + value * scale + 6).toFixed(1)}" y="${top + 11}">${figure}</text>`
    );
  });
  return [`<text class="head" x="${x}" y="${y}">${panel}, ${dtype}</text>`, ...bars];
}
