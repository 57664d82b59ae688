for (const source of document.querySelectorAll("script[data-plot]")) {
  const place = document.getElementById(source.dataset.plot);
  const { data, layout } = JSON.parse(source.textContent);
  if (layout.height) place.style.minHeight = `${layout.height}px`;
  const draw = (printed) => {
    const style = getComputedStyle(root);
    const colour = (name, print) => (printed === true ? print : style.getPropertyValue(name).trim());
    const [fg, line] = [colour("--fg", "#000000"), colour("--line", "#bbbbbb")];
    const axis = (own) => ({ ...own, gridcolor: line, zerolinecolor: line, linecolor: line });
    const themed = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: fg, family: "system-ui, sans-serif", size: 13 },
      xaxis: axis(layout.xaxis),
      yaxis: axis(layout.yaxis),
      legend: { orientation: "h", traceorder: "normal", x: 0, xanchor: "left", y: 1, yanchor: "bottom" },
      margin: { t: 44, r: 16, b: 56, l: 64 },
      hoverlabel: { font: { size: 13 } },
    };
    const save = { format: "svg", filename: source.dataset.plot };
    const config = { responsive: true, displaylogo: false, toImageButtonOptions: save, showSendToCloud: false };
    const traces = data.map((trace) =>
      trace.error_y ? { ...trace, error_y: { ...trace.error_y, color: fg, thickness: 1.5 } } : trace,
    );
    return Plotly.react(place, traces, themed, config);
  };
  draw().then(() => place.setAttribute("data-drawn", "true"));
  redraw.push(draw);
  window.addEventListener("beforeprint", () => draw(true));
  window.addEventListener("afterprint", () => draw());
}
