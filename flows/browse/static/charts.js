// Charts by uPlot: the trend of a measure over rounds, with intervals, and what an answer to SQL holds.
"use strict";

const HEIGHT = 190;

function colours() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(name).trim();
  return {
    ink: named("--muted"),
    line: named("--line"),
    series: [named("--accent"), named("--second"), named("--warn"), named("--bad"), named("--good")],
  };
}

function axes(look, more = {}) {
  const plain = { stroke: look.ink, grid: { stroke: look.line, width: 1 }, ticks: { stroke: look.line, width: 1 }, font: "12px system-ui" };
  return [{ ...plain, ...more }, { ...plain, size: 58 }];
}

function drawn(place, make) {
  // again with the theme and the width
  let chart = null;
  const draw = () => {
    if (place.clientWidth === 0) return;
    if (chart) chart.destroy();
    chart = make(place.clientWidth);
  };
  new ResizeObserver(draw).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return draw;
}

function intervals(lines, series) {
  // whiskers from the lower to the upper end
  return (plot) => {
    const context = plot.ctx;
    context.save();
    lines.forEach((line, number) => {
      context.strokeStyle = series[number % series.length];
      context.lineWidth = 2 * devicePixelRatio;
      line.points.forEach((point, place) => {
        if (!point || point[1] === null || !plot.series[number + 1].show) return;
        const x = plot.valToPos(plot.data[0][place], "x", true);
        context.beginPath();
        context.moveTo(x, plot.valToPos(point[1], "y", true));
        context.lineTo(x, plot.valToPos(point[2], "y", true));
        context.stroke();
      });
    });
    context.restore();
  };
}

for (const figure of document.querySelectorAll("[data-trend]")) {
  const trend = JSON.parse(figure.dataset.trend);
  const place = figure.querySelector(".plot");
  drawn(place, (width) => {
    const look = colours();
    const ends = trend.lines.flatMap((line) => line.points.filter(Boolean).flatMap((point) => point.slice(0, 3))).filter((end) => end !== null);
    const room = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 1;
    return new uPlot(
      {
        width,
        height: HEIGHT,
        cursor: { y: false },
        legend: { live: false },
        scales: {
          x: { time: false, range: () => [trend.rounds[0] - 0.3, trend.rounds.at(-1) + 0.3] },
          y: { range: () => [Math.min(...ends) - room, Math.max(...ends) + room] },
        },
        axes: axes(look, { splits: () => trend.rounds, values: (_, places) => places.map((at) => `round ${at}`) }),
        series: [
          { label: "round" },
          ...trend.lines.map((line, number) => ({
            label: line.name,
            stroke: look.series[number % look.series.length],
            width: number === 0 ? 2 : 1,
            dash: number === 0 ? undefined : [5, 4],
            points: { show: true, size: 7, fill: look.series[number % look.series.length] },
            spanGaps: true,
          })),
        ],
        hooks: { draw: [intervals(trend.lines, look.series)] },
      },
      [trend.rounds, ...trend.lines.map((line) => line.points.map((point) => (point ? point[0] : null)))],
      place,
    );
  })();
}

const panel = document.querySelector("[data-answer]");
if (panel) {
  const answer = JSON.parse(panel.dataset.answer);
  const numeric = answer.columns.map((_, column) => answer.rows.length > 0 && answer.rows.every((row) => row[column] === null || typeof row[column] === "number"));
  const [across, up, mark] = ["x", "y", "mark"].map((name) => panel.querySelector(`[data-${name}]`));
  answer.columns.forEach((name, column) => across.add(new Option(name, column)));
  answer.columns.forEach((name, column) => numeric[column] && up.add(new Option(name, column)));
  up.selectedIndex = up.options.length - 1;
  if (across.options.length) across.selectedIndex = Math.max(0, numeric.findIndex((isNumber, column) => isNumber && String(column) !== up.value));
  const place = panel.querySelector(".plot");
  const draw = drawn(place, (width) => {
    const look = colours();
    const x = Number(across.value);
    const y = Number(up.value);
    let points = answer.rows.map((row, number) => [numeric[x] ? row[x] : number, row[y], row[x]]).filter((point) => point[0] !== null);
    points = points.map((point, number) => [...point, number]).sort((a, b) => a[0] - b[0] || a[3] - b[3]);
    const names = points.map((point) => String(point[2]).slice(0, 18));
    const shape = {
      line: {},
      points: { paths: () => null, points: { show: true, size: 6, fill: look.series[0] } },
      bars: { paths: uPlot.paths.bars({ size: [0.7, 60] }), fill: look.series[0] },
    }[mark.value];
    const labels = numeric[x] ? {} : { values: (_, places) => places.map((at) => (Number.isInteger(at) ? names[at] ?? "" : "")) };
    return new uPlot(
      { width, height: 360, scales: { x: { time: false } }, axes: axes(look, labels), series: [{ label: answer.columns[x] }, { label: answer.columns[y], stroke: look.series[0], width: 2, ...shape }] },
      [points.map((point) => point[0]), points.map((point) => point[1])],
      place,
    );
  });
  if (up.options.length === 0) {
    place.textContent = "No column of this answer holds numbers alone.";
  } else {
    for (const choice of [across, up, mark]) choice.addEventListener("change", draw);
    document.addEventListener("tab", draw);
  }
}
