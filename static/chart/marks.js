// Moments on the time axis at which something else became true of the device: its firmware changed.

import { minute } from "../format.js";

const ROOM = 64; // a label needs so many pixels

// They come with the page, and anew whenever it is refreshed.
export function marksIn(element, min, max) {
  const place = element?.querySelector("script");
  const all = place ? JSON.parse(place.textContent) : [];
  return all.filter(({ at }) => at >= min && at <= max).sort((a, b) => a.at - b.at);
}

export const spoken = (marks) =>
  marks.length ? `. Firmware changed: ${marks.map(({ at, version }) => `to ${version}, ${minute(at)}`).join("; ")}` : "";

// For uPlot's hook `draw`: a dashed line at each, its version at the top where there is room.
export function drawMarks(chart, marks, colour) {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  let free = -Infinity;
  ctx.save();
  Object.assign(ctx, { strokeStyle: colour, fillStyle: colour, lineWidth: ratio, font: `600 ${11 * ratio}px system-ui, sans-serif`, textBaseline: "top", textAlign: "left" });
  ctx.setLineDash([4 * ratio, 3 * ratio]);
  for (const { at, version } of marks) {
    const x = Math.round(chart.valToPos(at, "x", true));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (x < free) continue;
    const words = version.length > 14 ? `${version.slice(0, 13)}…` : version;
    const wide = ctx.measureText(words).width;
    const right = x + 4 * ratio + wide <= bbox.left + bbox.width;
    ctx.fillText(words, right ? x + 4 * ratio : x - 4 * ratio - wide, bbox.top + ratio);
    free = x + Math.max(wide + 12 * ratio, ROOM * ratio);
  }
  ctx.restore();
}
