// Draws what each figure was given, in the page's colours; draws anew when those change. live.js gives it what is new.
// Times are Unix milliseconds, which the library shows in UTC, as the rest of the page does.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const KINDS = {error: "bad", warning: "warn", ok: "ok", info: "series-1"};
const SERIES = 6;
// The library reads texts as its own small HTML, and gives a long one all the room there is.
const text = (given) => {
  const letters = [...given];
  const short = letters.length > 60 ? `${letters.slice(0, 60).join("")}…` : given;
  return short.replace(/&/g, "&amp;").replace(/</g, "&lt;");
};

function traces(graph) {
  const opacity = graph.lines.some((line) => !line.bars) ? 0.45 : 1; // lines are seen before bars
  return graph.lines.flatMap((line, number) => {
    const own = colour(line.palette === "warm" ? "warm" : `series-${number % SERIES}`);
    const shared = {name: line.name, yaxis: line.right ? "y2" : "y", hoverlabel: {namelength: 60}};
    const x = line.x;
    if (line.bars) {
      const middle = line.x.map((at) => at + line.every / 2);
      return [{...shared, type: "bar", x: middle, y: line.y, width: line.every * 0.85, marker: {color: own, opacity}}];
    }
    const drawn = {...shared, type: "scatter", mode: line.x.length < 40 ? "lines+markers" : "lines", x, y: line.y,
      line: {color: own, width: 1.7}, marker: {color: own, size: 5}};
    if (!line.lower.length) return [drawn];
    const edge = {...shared, type: "scatter", mode: "lines", x, line: {width: 0}, hoverinfo: "skip"};
    return [
      {...edge, y: line.lower},
      {...edge, y: line.upper, fill: "tonexty", fillcolor: colour("band")},
      drawn,
      {...shared, type: "scatter", mode: "markers", x: line.outside.map(([at]) => at),
        y: line.outside.map(([, value]) => value), marker: {color: colour("bad"), size: 9, symbol: "circle-open", line: {width: 2}}},
    ];
  });
}

function axis(given, side) {
  const label = given?.label ? {title: {text: text(given.label), font: {size: 12}}} : {};
  const ends = [given?.min, given?.max].map((end) => (Number.isFinite(Number.parseFloat(end)) ? Number.parseFloat(end) : null));
  const range = ends.some((end) => end !== null) ? {range: ends} : {rangemode: given?.include_zero === false ? "normal" : "tozero"};
  return {...label, ...range, ...side, gridcolor: colour("grid"), zerolinecolor: colour("line"), automargin: true, fixedrange: true};
}

function layout(graph) {
  const across = {type: "line", xref: "paper", x0: 0, x1: 1};
  const marks = graph.marks.map((mark) => ({...across, y0: mark.value, y1: mark.value,
    line: {color: colour(KINDS[mark.kind]), width: 1.5, dash: mark.dashed ? "dash" : "solid"}}));
  const events = graph.events.map((event) => ({type: "line", yref: "paper", y0: 0, y1: 1, x0: event.at, x1: event.at,
    line: {color: colour("series-1"), width: 2, dash: "dot"}}));
  const labels = graph.marks.map((mark) => ({xref: "paper", x: 1, xanchor: "right", y: mark.value, yanchor: "bottom", showarrow: false,
    text: text(mark.label), font: {size: 11, color: colour(KINDS[mark.kind])}}));
  const right = graph.lines.some((line) => line.right) ? {yaxis2: axis(graph.axes.right, {overlaying: "y", side: "right", showgrid: false, tickmode: "auto"})} : {};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: colour("text"), size: 12}, showlegend: false,
    margin: {l: 44, r: 14, t: 10, b: 30}, barmode: graph.stacked ? "stack" : "overlay", hovermode: "closest",
    xaxis: {type: "date", range: [graph.from, graph.to], gridcolor: colour("grid"), fixedrange: true},
    yaxis: axis(graph.axes.left, {}), ...right, shapes: [...marks, ...events], annotations: labels,
  };
}

function draw(figure) {
  const graph = JSON.parse(figure.querySelector("script").textContent);
  graph.lines.forEach((line) => { line.name = text(line.name); });
  Plotly.react(figure.querySelector(".drawing"), traces(graph), layout(graph), {displayModeBar: false, responsive: true});
  figure.querySelectorAll("[data-series]").forEach((swatch) => {
    swatch.style.background = colour(swatch.dataset.palette === "warm" ? "warm" : `series-${swatch.dataset.series % SERIES}`);
  });
}

const all = () => document.querySelectorAll("figure.graph").forEach(draw);
all();
dark.addEventListener("change", all);
