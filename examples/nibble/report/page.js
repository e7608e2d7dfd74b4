"use strict";
(() => {
  // ---- What is shown -------------------------------------------------------------------------------------

  const by_id = (id) => document.getElementById(id);
  const data = JSON.parse(by_id("data").textContent);
  const { reference, files, tensors, kinds } = data;
  const rows_per_page = 50;
  const blocks_at_first = 6;

  const state = {
    file: 0,
    measure: "relative_rmse",
    sort: "relative_rmse",
    ascending: false,
    query: "",
    kind: "",
    encoding: "",
    chosen: null, // the places of some tensors that a cell of the heat map stands for, and what they are
    page: 0,
    tensor: null,
    all_blocks: false,
    cell: { row: 0, column: 0 },
  };

  // ---- Text ----------------------------------------------------------------------------------------------

  // JSON has no infinity: the data have it as text.
  const number_of = (value) =>
    value === "inf" ? Infinity : value === "-inf" ? -Infinity : typeof value === "number" ? value : NaN;

  const minus = (text) => text.replace("-", "−");
  const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  const counted = (count, noun) => `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;

  function figure(value, digits = 3) {
    const number = number_of(value);
    if (Number.isNaN(number)) return "–";
    if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
    if (number === 0) return "0";
    const size = Math.abs(number);
    if (size >= 1e-4 && size < 1e6) {
      const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
      return minus(number.toFixed(Math.min(places, 12)));
    }
    const [front, power] = number.toExponential(digits - 1).split("e");
    return minus(`${front}e${power.replace("+", "")}`);
  }
  const decimals = (value, places) => {
    const number = number_of(value);
    return Number.isFinite(number) ? minus(number.toFixed(places)) : figure(value);
  };
  function bytes_text(count) {
    for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (count >= size) return `${figure(count / size)} ${unit}`;
    }
    return counted(count, "byte");
  }
  const percent = (share) => `${figure(100 * number_of(share))}\u00a0%`;
  const last_part = (path) => path.replace(/[/\\]+$/, "").split(/[/\\]/).pop() || path;

  // Names of files without their folders, unless two would then be alike.
  const short_names = (() => {
    const short = files.map((file) => last_part(file.file));
    return short.map((name, i) => (short.indexOf(name) === short.lastIndexOf(name) ? name : files[i].file));
  })();

  // ---- Elements ------------------------------------------------------------------------------------------

  function fill(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, text] of Object.entries(value)) made.style.setProperty(key, text);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }
  const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg_names = by_id("svg-model").namespaceURI;
  const drawn = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS(svg_names, tag), attributes, children);
  const picture = (width, height, label, ...children) =>
    drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...children);
  const text_at = (x, y, text, more = {}) => drawn("text", { x, y, ...more }, text);
  const line_from = (x1, y1, x2, y2, kind) => drawn("line", { x1, y1, x2, y2, class: kind });

  // A name that breaks behind its dots and underscores rather than within a word.
  const breakable = (name) => name.split(/(?<=[._])/).flatMap((part, i) => (i === 0 ? [part] : [element("wbr"), part]));

  // What hovering or focusing says.
  const tip = by_id("tip");
  function show_tip(x, y, title, ...lines) {
    tip.replaceChildren(element("b", {}, title), ...lines.filter(Boolean).map((line) => element("div", {}, line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, x + 14), window.innerWidth - box.width - 8);
    const top = y + 16 + box.height > window.innerHeight ? y - box.height - 12 : y + 16;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }
  const hide_tip = () => (tip.hidden = true);
  function with_tip(target, title, ...lines) {
    target.addEventListener("pointermove", (event) => show_tip(event.clientX, event.clientY, title, ...lines));
    target.addEventListener("pointerleave", hide_tip);
    target.addEventListener("focus", () => {
      const box = target.getBoundingClientRect();
      show_tip(box.left, box.bottom - 10, title, ...lines);
    });
    target.addEventListener("blur", hide_tip);
    return target;
  }

  // ---- Colours -------------------------------------------------------------------------------------------

  const is_dark = () => document.documentElement.dataset.theme === "dark";

  // From OKLCH, in which equal steps look equal, to the screen's colours.
  // The matrices are those of Björn Ottosson, "A perceptual color space for image processing", 2020.
  function colour(lightness, chroma, hue) {
    const a = chroma * Math.cos((hue * Math.PI) / 180);
    const b = chroma * Math.sin((hue * Math.PI) / 180);
    const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
    const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
    const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
    const linear = [
      4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
      -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
      -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
    ];
    const channels = linear.map((part) => {
      const held = Math.min(1, Math.max(0, part));
      return Math.round(255 * (held <= 0.0031308 ? 12.92 * held : 1.055 * held ** (1 / 2.4) - 0.055));
    });
    return `rgb(${channels.join(" ")})`;
  }

  // Lightness, chroma and hue from the least to the most error; what is most stands out from the ground.
  const stops_light = [[0.955, 0.022, 185], [0.85, 0.065, 190], [0.7, 0.1, 215], [0.53, 0.125, 262], [0.37, 0.14, 300], [0.25, 0.1, 325]];
  const stops_dark = [[0.29, 0.03, 230], [0.38, 0.075, 265], [0.5, 0.125, 305], [0.63, 0.15, 355], [0.77, 0.135, 405], [0.92, 0.09, 452]];
  const scales = Object.fromEntries(
    [["light", stops_light], ["dark", stops_dark]].map(([name, stops]) => [
      name,
      Array.from({ length: 256 }, (_, i) => {
        const at = (i / 255) * (stops.length - 1);
        const low = Math.min(Math.floor(at), stops.length - 2);
        return colour(...stops[low].map((part, j) => part + (at - low) * (stops[low + 1][j] - part)));
      }),
    ]),
  );
  const scale_colour = (share) => scales[is_dark() ? "dark" : "light"][Math.round(255 * Math.min(1, Math.max(0, share)))];
  const file_colour = (file) => colour(is_dark() ? 0.76 : 0.58, 0.115, 200 + 67 * file);

  // ---- Measures ------------------------------------------------------------------------------------------

  const errors_of = (tensor, file = state.file) => tensors[tensor].files[file];
  const bits_of = (tensor, file = state.file) => {
    const errors = errors_of(tensor, file);
    return errors && tensors[tensor].elements ? (8 * errors.bytes) / tensors[tensor].elements : NaN;
  };
  const measured = (name) => (tensor, file) => number_of(errors_of(tensor, file)?.[name]);
  const measures = {
    relative_rmse: { title: "Relative RMSE", of: measured("relative_rmse"), is_log: true, text: (value) => figure(value) },
    sqnr_db: { title: "SQNR, dB", of: measured("sqnr_db"), is_less_worse: true, text: (value) => decimals(value, 1) },
    max_abs_error: { title: "Largest error", of: measured("max_abs_error"), is_log: true, text: (value) => figure(value) },
    bits: { title: "Bits per weight", of: bits_of, text: (value) => figure(value) },
  };
  const is_exact = (tensor) => errors_of(tensor)?.equal === true;

  // Where a value is between the least and the most of a measure, 0 to 1.
  function range_of(measure, places) {
    let low = Infinity;
    let high = -Infinity;
    for (const tensor of places) {
      const value = measure.of(tensor, state.file);
      if (!Number.isFinite(value) || (measure.is_log && value <= 0)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const position = (value) => (measure.is_log ? Math.log(value) : value);
    return {
      low,
      high,
      is_empty: low > high,
      share(value) {
        if (value === Infinity) return measure.is_less_worse ? 0 : 1;
        if (value === -Infinity || low === high) return low === high ? 0.5 : 0;
        const share = (position(value) - position(low)) / (position(high) - position(low));
        return measure.is_less_worse ? 1 - share : share;
      },
      at(share) {
        const part = measure.is_less_worse ? 1 - share : share;
        return measure.is_log ? low * (high / low) ** part : low + (high - low) * part;
      },
    };
  }

  // ---- Files ---------------------------------------------------------------------------------------------

  const has_perplexity = reference.perplexity !== null;

  function figure_of_card(name, value, more) {
    return element("span", {},
      element("span", { class: "figure-name" }, name),
      element("span", { class: "figure-value" }, value, more ? element("span", { class: "figure-more" }, ` ${more}`) : null));
  }

  function made_of(file) {
    const list = file.encodings.map((each) => `${each.encoding} ${percent(each.bytes / file.tensor_bytes)}`);
    const shown = list.length > 3 ? [...list.slice(0, 3), `${list.length - 3} more`] : list;
    return [
      element("span", { class: "made-of", "aria-hidden": "true" },
        file.encodings.map((each, i) => element("span", { style: { "flex-grow": String(each.bytes), opacity: String(Math.max(0.25, 0.9 - 0.25 * i)) } }))),
      element("span", { class: "made-of-text" }, shown.join(" · ")),
    ];
  }

  function draw_files() {
    by_id("files").replaceChildren(...files.map((file, i) => {
      const perplexity = file.perplexity;
      const card = element("button", { type: "button", class: "card", "aria-pressed": String(i === state.file), onclick: () => choose_file(i) },
        element("span", { class: "card-name" }, element("span", { class: "dot", style: { background: file_colour(i) } }), short_names[i]),
        element("span", { class: "card-figures" },
          figure_of_card("Bits per weight", figure(file.bits_per_weight)),
          figure_of_card("Size", bytes_text(file.file_bytes), `1/${figure(reference.file_bytes / file.file_bytes, 2)}`),
          figure_of_card("Relative RMSE", figure(file.all_tensors.relative_rmse)),
          figure_of_card("SQNR", `${decimals(file.all_tensors.sqnr_db, 1)} dB`),
          perplexity ? figure_of_card("Perplexity", figure(perplexity.perplexity, 5),
            `${perplexity.perplexity >= reference.perplexity.perplexity ? "+" : "−"}${figure(100 * Math.abs(perplexity.perplexity / reference.perplexity.perplexity - 1), 2)}\u00a0%`) : null,
          perplexity ? figure_of_card("Divergence, nats", figure(perplexity.divergence.mean)) : null),
        made_of(file));
      return card;
    }));
    const file = files[state.file];
    const notes = [];
    const list = (names) => names.slice(0, 6).join(", ") + (names.length > 6 ? ` and ${names.length - 6} more` : "");
    if (file.only_in_reference.length) notes.push(`Not in ${short_names[state.file]}: ${list(file.only_in_reference)}`);
    if (file.only_in_file.length) notes.push(`Only in ${short_names[state.file]}: ${list(file.only_in_file)}`);
    if (file.shape_mismatches.length) notes.push(`Of another shape: ${list(file.shape_mismatches.map((each) => each.name))}`);
    if (file.not_compared.length) notes.push(`Not compared, for they cannot be decoded: ${list(file.not_compared)}`);
    by_id("notes").replaceChildren(...notes.map((note) => element("p", { class: "note" }, note)));
  }

  function choose_file(file) {
    const had_focus = document.activeElement?.classList?.contains("card");
    state.file = file;
    state.encoding = "";
    draw_all();
    if (had_focus) by_id("files").children[file].focus();
  }

  // ---- Size against error --------------------------------------------------------------------------------

  function round_steps(low, high, count) {
    const rough = (high - low) / count || Math.abs(high) || 1;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((each) => each * unit).find((each) => each >= rough * 0.999);
    const steps = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) steps.push(Number(at.toPrecision(12)));
    return steps;
  }
  function log_steps(low, high) {
    const steps = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); ++power) {
      for (const front of [1, 2, 5]) {
        const at = front * 10 ** power;
        if (at >= low && at <= high) steps.push(at);
      }
    }
    return steps.length > 8 ? steps.filter((at) => /^1/.test(at.toExponential())) : steps;
  }

  function trade_chart({ title, y_of, is_log, y_text, base }) {
    const width = 380;
    const height = 270;
    const edge = { left: 50, right: 14, top: 16, bottom: 42 };
    const points = files
      .map((file, i) => ({ i, x: file.tensor_bytes, y: y_of(file) }))
      .filter((point) => Number.isFinite(point.y) && (!is_log || point.y > 0));
    const panel = element("div", { class: "panel" }, element("h3", {}, title));
    if (!points.length) {
      panel.append(element("p", { class: "quiet" }, "No file has an error to draw."));
      return panel;
    }
    const padded = (values, by) => {
      const low = Math.min(...values);
      const high = Math.max(...values);
      const room = (high - low) * by || Math.abs(high) * by || 1;
      return [low - room, high + room];
    };
    const [x_low, x_high] = padded(points.map((point) => point.x), 0.16);
    const forward = is_log ? Math.log10 : (value) => value;
    const back = is_log ? (value) => 10 ** value : (value) => value;
    const y_values = points.map((point) => forward(point.y));
    if (base !== undefined) y_values.push(forward(base));
    const [y_low, y_high] = padded(y_values, 0.16);
    const x = (value) => edge.left + ((value - x_low) / (x_high - x_low)) * (width - edge.left - edge.right);
    const y = (value) => height - edge.bottom - ((forward(value) - y_low) / (y_high - y_low)) * (height - edge.top - edge.bottom);
    const chart = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title });
    const steps = is_log ? log_steps(back(y_low), back(y_high)) : round_steps(y_low, y_high, 4);
    for (const at of steps.length ? steps : points.map((point) => point.y)) {
      chart.append(line_from(edge.left, y(at), width - edge.right, y(at), "grid"), text_at(edge.left - 8, y(at) + 4, y_text(at), { "text-anchor": "end" }));
    }
    for (const at of round_steps(x_low, x_high, 4)) {
      if (at < 0) continue;
      chart.append(text_at(x(at), height - edge.bottom + 18, bytes_text(at), { "text-anchor": "middle" }));
    }
    chart.append(line_from(edge.left, height - edge.bottom, width - edge.right, height - edge.bottom, "axis"));
    chart.append(text_at(width - edge.right, height - 6, "bytes of all tensors →", { "text-anchor": "end" }));
    if (base !== undefined) {
      chart.append(line_from(edge.left, y(base), width - edge.right, y(base), "front"), text_at(edge.left + 4, y(base) - 6, `MODEL ${y_text(base)}`));
    }
    // Files that no other one betters in both.
    const best = [...points].sort((a, b) => a.x - b.x || a.y - b.y).filter((point, i, list) => list.slice(0, i).every((other) => other.y > point.y));
    if (best.length > 1) chart.append(drawn("polyline", { class: "front", points: best.map((point) => `${x(point.x)},${y(point.y)}`).join(" ") }));
    for (const point of points) {
      const is_chosen = point.i === state.file;
      const group = drawn("g", { tabindex: "0", role: "button", "aria-label": `${short_names[point.i]}: ${bytes_text(point.x)}, ${y_text(point.y)}`, "aria-pressed": String(is_chosen) },
        is_chosen ? drawn("circle", { class: "point-ring", cx: x(point.x), cy: y(point.y), r: 11, style: { stroke: file_colour(point.i) } }) : null,
        drawn("circle", { class: "point", cx: x(point.x), cy: y(point.y), r: 6.5, style: { fill: file_colour(point.i) } }));
      const is_right = x(point.x) > width * 0.62;
      group.append(text_at(x(point.x) + (is_right ? -15 : 15), y(point.y) + 4, short_names[point.i].replace(/\.(apr|gguf|safetensors)$/i, ""), { class: is_chosen ? "strong" : "", "text-anchor": is_right ? "end" : "start" }));
      const choose = () => choose_file(point.i);
      group.addEventListener("click", choose);
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose();
        }
      });
      chart.append(with_tip(group, short_names[point.i], `${bytes_text(point.x)}, ${figure(files[point.i].bits_per_weight)} bits per weight`, `${title}: ${y_text(point.y)}`));
    }
    panel.append(chart);
    return panel;
  }

  function draw_trade() {
    const charts = [trade_chart({ title: "Relative RMSE of all tensors", y_of: (file) => number_of(file.all_tensors.relative_rmse), is_log: true, y_text: (value) => figure(value, 2) })];
    if (has_perplexity) {
      charts.push(
        trade_chart({ title: "Perplexity", y_of: (file) => file.perplexity.perplexity, y_text: (value) => figure(value, 4), base: reference.perplexity.perplexity }),
        trade_chart({ title: "Divergence from MODEL, nats", y_of: (file) => file.perplexity.divergence.mean, is_log: true, y_text: (value) => figure(value, 2) }));
    }
    by_id("trade").replaceChildren(...charts);
  }

  // ---- Heat map ------------------------------------------------------------------------------------------

  const short_kind = (kind) => kind.replace(/^.*?\*\./, "").replace(/\.weight$/, "");
  const in_layers = tensors.map((_, i) => i).filter((i) => tensors[i].layer !== null);
  const outside_layers = tensors.map((_, i) => i).filter((i) => tensors[i].layer === null);
  const layers = [...new Set(in_layers.map((i) => tensors[i].layer))].sort((a, b) => a - b);
  const heat_kinds = [...new Set(in_layers.map((i) => tensors[i].kind))];
  const cells = (() => {
    const row_of = new Map(heat_kinds.map((kind, row) => [kind, row]));
    const column_of = new Map(layers.map((layer, column) => [layer, column]));
    const grid = heat_kinds.map(() => layers.map(() => []));
    for (const i of in_layers) grid[row_of.get(tensors[i].kind)][column_of.get(tensors[i].layer)].push(i);
    return grid;
  })();
  const canvas = by_id("heat");
  const heat = { width: 0, height: 0, range: null };

  // The tensor of a cell whose error is the worst.
  function worst_of(places) {
    const measure = measures[state.measure];
    let worst = places[0];
    for (const i of places) {
      const [value, most] = [measure.of(i, state.file), measure.of(worst, state.file)];
      if (Number.isNaN(most) || (measure.is_less_worse ? value < most : value > most)) worst = i;
    }
    return worst;
  }
  function cell_colour(places, ground) {
    const worst = worst_of(places);
    const value = measures[state.measure].of(worst, state.file);
    if (Number.isNaN(value)) return null;
    if (state.measure !== "bits" && is_exact(worst)) return ground;
    return scale_colour(heat.range.share(value));
  }

  function draw_heat() {
    const measure = measures[state.measure];
    heat.range = range_of(measure, tensors.keys());
    const rows = heat_kinds.length;
    by_id("heat-frame").hidden = rows === 0;
    by_id("heat-told").hidden = rows === 0;
    by_id("heat-hint").textContent = rows === 0
      ? "No tensor's name tells a layer."
      : `${counted(rows, "kind")} of tensors in ${counted(layers.length, "layer")} of ${short_names[state.file]}. Arrow keys move, Enter opens a tensor.`;
    draw_legend(measure);
    draw_outside(measure);
    if (rows === 0) return;

    heat.height = rows <= 16 ? 26 : rows <= 40 ? 20 : 14;
    by_id("heat-labels").replaceChildren(...heat_kinds.map((kind) =>
      element("div", { style: { height: `${heat.height}px`, "line-height": `${heat.height}px` }, title: kinds[kind] }, element("bdi", {}, short_kind(kinds[kind])))));
    const available = canvas.parentElement.clientWidth;
    heat.width = Math.max(rows > 40 ? 8 : 12, Math.min(96, Math.floor(available / layers.length)));
    const axis = 22;
    const width = heat.width * layers.length;
    const height = heat.height * rows + axis;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    const style = getComputedStyle(document.documentElement);
    const [line, quiet, ground, ink] = ["--line", "--quiet", "--panel", "--ink"].map((name) => style.getPropertyValue(name).trim());
    const gap = heat.width > 14 ? 2 : 1;
    cells.forEach((row, y) => row.forEach((places, x) => {
      if (!places.length) return;
      const fill_colour = cell_colour(places, ground);
      const box = [x * heat.width, y * heat.height, heat.width - gap, heat.height - gap];
      if (fill_colour === null || fill_colour === ground) {
        pen.strokeStyle = line;
        pen.strokeRect(box[0] + 0.5, box[1] + 0.5, box[2] - 1, box[3] - 1);
        if (fill_colour === null) return;
        pen.fillStyle = quiet;
        pen.fillRect(box[0] + box[2] / 2 - 1, box[1] + box[3] / 2 - 1, 2, 2);
      } else {
        pen.fillStyle = fill_colour;
        pen.fillRect(...box);
      }
    }));
    pen.fillStyle = quiet;
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    pen.textAlign = "center";
    const every = [1, 2, 4, 5, 8, 10, 20, 25, 50, 100, 200, 500].find((each) => each * heat.width >= 26) || 1000;
    layers.forEach((layer, x) => {
      if (x % every === 0) pen.fillText(String(layer), x * heat.width + (heat.width - gap) / 2, height - 7);
    });
    if (document.activeElement === canvas || heat.is_hovered) {
      const { row, column } = state.cell;
      pen.strokeStyle = ink;
      pen.lineWidth = 2;
      pen.strokeRect(column * heat.width, row * heat.height, heat.width - gap, heat.height - gap);
    }
  }

  function draw_legend(measure) {
    const legend = by_id("heat-legend");
    if (heat.range.is_empty) {
      legend.replaceChildren(element("span", {}, "No error to show."));
      return;
    }
    const colours = Array.from({ length: 17 }, (_, i) => scale_colour(i / 16)).join(", ");
    const shares = heat.range.low === heat.range.high ? [0.5] : [0, 0.25, 0.5, 0.75, 1];
    legend.replaceChildren(
      element("span", {}, measure.title),
      element("span", { class: "legend-bar" },
        element("span", { class: "legend-colours", style: { background: `linear-gradient(to right, ${colours})` } }),
        element("span", { class: "legend-ticks" }, shares.map((share) => element("span", { style: { left: `${100 * share}%` } }, measure.text(heat.range.at(share)))))),
      element("span", {}, measure.is_less_worse || measure.is_log ? "worse →" : ""),
      state.measure === "bits" ? null : element("span", { class: "legend-swatch" }, "exact"));
  }

  function draw_outside(measure) {
    const shown = outside_layers.slice(0, 24);
    by_id("outside").replaceChildren(...shown.map((i) => {
      const value = measure.of(i, state.file);
      const filled = cell_colour([i], "transparent") ?? "transparent";
      return with_tip(element("button", { type: "button", class: "chip", onclick: () => open_tensor(i) },
        element("i", { style: { background: filled } }), element("span", {}, tensors[i].name), element("b", {}, is_exact(i) && state.measure !== "bits" ? "exact" : measure.text(value))), ...told(i));
    }));
    if (outside_layers.length > shown.length) {
      by_id("outside").append(element("button", { type: "button", class: "chip", onclick: () => show_some(outside_layers, "outside the layers") }, element("span", {}, `${grouped(outside_layers.length - shown.length)} more`)));
    }
  }

  // What is said of a tensor in short.
  function told(i) {
    const errors = errors_of(i);
    if (!errors) return [tensors[i].name, `not in ${short_names[state.file]}`];
    return [
      tensors[i].name,
      `${tensors[i].encoding} → ${errors.encoding}, ${tensors[i].shape.join(" × ")}`,
      errors.equal ? "exact" : `relative RMSE ${figure(errors.relative_rmse)}, SQNR ${decimals(errors.sqnr_db, 1)} dB`,
    ];
  }
  function told_of_cell(places) {
    if (places.length === 1) return told(places[0]);
    const worst = worst_of(places);
    return [`${counted(places.length, "tensor")} of layer ${tensors[worst].layer}, ${short_kind(kinds[tensors[worst].kind])}`, "the worst of them:", ...told(worst)];
  }
  const cell_at = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / heat.width);
    const row = Math.floor((event.clientY - box.top) / heat.height);
    return cells[row]?.[column]?.length ? { row, column } : null;
  };
  function tell_cell() {
    const places = cells[state.cell.row][state.cell.column];
    by_id("heat-told").textContent = places.length ? told_of_cell(places).join(" · ") : `nothing of ${short_kind(kinds[heat_kinds[state.cell.row]])} in layer ${layers[state.cell.column]}`;
  }
  function open_cell() {
    const places = cells[state.cell.row][state.cell.column];
    if (places.length === 1) open_tensor(places[0]);
    else if (places.length) show_some(places, `layer ${layers[state.cell.column]}, ${short_kind(kinds[heat_kinds[state.cell.row]])}`);
  }
  canvas.addEventListener("pointermove", (event) => {
    const at = cell_at(event);
    heat.is_hovered = at !== null;
    if (at === null) {
      hide_tip();
    } else {
      state.cell = at;
      show_tip(event.clientX, event.clientY, ...told_of_cell(cells[at.row][at.column]));
    }
    request_heat();
  });
  canvas.addEventListener("pointerleave", () => {
    heat.is_hovered = false;
    hide_tip();
    request_heat();
  });
  canvas.addEventListener("click", (event) => {
    const at = cell_at(event);
    if (at === null) return;
    state.cell = at;
    hide_tip();
    open_cell();
  });
  canvas.addEventListener("focus", () => {
    tell_cell();
    request_heat();
  });
  canvas.addEventListener("blur", () => {
    by_id("heat-told").textContent = "";
    request_heat();
  });
  canvas.addEventListener("keydown", (event) => {
    const { row, column } = state.cell;
    const moves = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      Home: [row, 0], End: [row, layers.length - 1], PageUp: [0, column], PageDown: [heat_kinds.length - 1, column],
    };
    if (event.key === "Enter" || event.key === " ") open_cell();
    else if (!moves[event.key]) return;
    else {
      const [to_row, to_column] = moves[event.key];
      state.cell = { row: Math.min(Math.max(0, to_row), heat_kinds.length - 1), column: Math.min(Math.max(0, to_column), layers.length - 1) };
      const scroll = canvas.parentElement;
      const left = state.cell.column * heat.width;
      if (left < scroll.scrollLeft) scroll.scrollLeft = left;
      if (left + heat.width > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = left + heat.width - scroll.clientWidth;
      tell_cell();
      request_heat();
    }
    event.preventDefault();
  });
  let heat_is_requested = false;
  function request_heat() {
    if (heat_is_requested) return;
    heat_is_requested = true;
    requestAnimationFrame(() => {
      heat_is_requested = false;
      draw_heat();
    });
  }

  // ---- Values against the grid ---------------------------------------------------------------------------

  function positions_chart(positions) {
    const width = 900;
    const height = 230;
    const edge = { left: 8, right: 8, top: 10, bottom: 26 };
    const end = positions.from + positions.step * positions.counts.length;
    const most = Math.max(...positions.counts, 1);
    const x = (code) => edge.left + ((code - positions.from) / (end - positions.from)) * (width - edge.left - edge.right);
    const y = (count) => height - edge.bottom - (count / most) * (height - edge.top - edge.bottom);
    const total = positions.counts.reduce((sum, count) => sum + count, positions.below + positions.above);
    const codes = positions.last - positions.first + 1;
    const chart = picture(width, height, `Values among the codes ${positions.first} to ${positions.last}`);
    chart.classList.add("positions");
    const every = codes <= 32 ? 1 : codes <= 64 ? 4 : 16;
    for (let code = positions.first; code <= positions.last; code += every) {
      chart.append(line_from(x(code), edge.top, x(code), height - edge.bottom, "grid"), text_at(x(code), height - 8, minus(String(code)), { "text-anchor": "middle" }));
    }
    positions.counts.forEach((count, i) => {
      const from = positions.from + i * positions.step;
      const bar = drawn("rect", { class: "bar", x: x(from) + 0.5, y: y(count), width: Math.max(0.5, x(from + positions.step) - x(from) - 1), height: height - edge.bottom - y(count) });
      const place = positions.step <= 1 ? figure(from + positions.step / 2) : `${minus(String(from + 0.5))} to ${minus(String(from + positions.step - 0.5))}`;
      chart.append(with_tip(bar, `code ${place}`, counted(count, "value"), total ? percent(count / total) : ""));
    });
    chart.append(line_from(edge.left, height - edge.bottom, width - edge.right, height - edge.bottom, "axis"));
    const key = element("p", { class: "key" }, element("span", {}, "values of MODEL"));
    if (positions.below + positions.above) key.append(element("span", { class: "key-none" }, `${counted(positions.below + positions.above, "value")} beyond`));
    if (positions.without_scale) key.append(element("span", { class: "key-none" }, `${counted(positions.without_scale, "value")} in blocks whose scale is 0`));
    return [chart, key];
  }

  function draw_positions() {
    const list = files[state.file].positions;
    by_id("positions-section").hidden = list.length === 0;
    if (!list.length) return;
    const select = by_id("positions-encoding");
    const before = select.value;
    select.replaceChildren(...list.map((each) => element("option", { value: each.encoding }, `${each.encoding}, ${counted(each.tensors, "tensor")}`)));
    const sums = list.map((each) => each.counts.reduce((sum, count) => sum + count, 0));
    const most = list[sums.indexOf(Math.max(...sums))];
    select.value = list.some((each) => each.encoding === before) ? before : most.encoding;
    by_id("positions-field").hidden = list.length === 1;
    by_id("positions").replaceChildren(element("h3", {}, list.length === 1 ? `${list[0].encoding}, ${counted(list[0].tensors, "tensor")}` : select.value), ...positions_chart(list.find((each) => each.encoding === select.value)));
  }

  // ---- Worst blocks --------------------------------------------------------------------------------------

  function block_chart(block, height = 120) {
    const width = 300;
    const edge = { left: 6, right: 6, top: 8, bottom: 8 };
    const pairs = block.reference.map((value, i) => [number_of(value), number_of(block.packed[i])]);
    const finite = pairs.flat().filter(Number.isFinite);
    const low = Math.min(...finite, 0);
    const high = Math.max(...finite, 0);
    const x = (i) => edge.left + ((i + 0.5) / pairs.length) * (width - edge.left - edge.right);
    const y = (value) => height - edge.bottom - ((value - low) / (high - low || 1)) * (height - edge.top - edge.bottom);
    const chart = picture(width, height, `${pairs.length} values from ${figure(low)} to ${figure(high)}`);
    for (const level of [...new Set(pairs.map(([, packed]) => packed).filter(Number.isFinite))].slice(0, 40)) {
      chart.append(line_from(edge.left, y(level), width - edge.right, y(level), "grid"));
    }
    chart.append(line_from(edge.left, y(0), width - edge.right, y(0), "axis"));
    pairs.forEach(([value, packed], i) => {
      if (Number.isFinite(value) && Number.isFinite(packed)) chart.append(line_from(x(i), y(value), x(i), y(packed), "miss"));
      if (Number.isFinite(packed)) chart.append(drawn("circle", { class: "packed-dot", cx: x(i), cy: y(packed), r: 2 }));
      if (Number.isFinite(value)) chart.append(drawn("circle", { class: "ring", cx: x(i), cy: y(value), r: 3.4 }));
    });
    return chart;
  }
  const block_place = (block) => `row ${grouped(block.row)}, columns ${grouped(block.column)}–${grouped(block.column + block.elements - 1)}`;

  function draw_blocks() {
    const list = files[state.file].worst_blocks;
    by_id("blocks-section").hidden = list.length === 0;
    by_id("more-blocks").hidden = list.length <= blocks_at_first;
    by_id("more-blocks").textContent = state.all_blocks ? "Show fewer" : `Show all ${list.length}`;
    by_id("blocks").replaceChildren(...list.slice(0, state.all_blocks ? list.length : blocks_at_first).map((block) => {
      const tensor = tensors[block.tensor];
      return with_tip(element("button", { type: "button", class: "block", onclick: () => open_tensor(block.tensor) },
        element("span", { class: "block-name" }, element("bdi", {}, tensor.name)),
        element("span", { class: "block-place" }, element("span", {}, block_place(block)), element("span", {}, `${figure(block.relative_rmse, 2)} RMS`)),
        block_chart(block)),
      tensor.name, block_place(block), `RMSE ${figure(block.rmse)}, ${figure(block.relative_rmse)} of the tensor's root mean square`, `${percent(block.share_of_squared_error)} of the tensor's squared error`);
    }));
  }
  by_id("more-blocks").addEventListener("click", () => {
    state.all_blocks = !state.all_blocks;
    draw_blocks();
  });

  // ---- Table ---------------------------------------------------------------------------------------------

  const names_in_lower_case = tensors.map((tensor) => tensor.name.toLowerCase());
  const columns = [
    { key: "name", title: "Tensor", left: true, of: (i) => tensors[i].name, is_text: true },
    { key: "layer", title: "Layer", wide: true, of: (i) => tensors[i].layer ?? NaN, cell: (i) => tensors[i].layer === null ? "–" : String(tensors[i].layer) },
    { key: "elements", title: "Shape", wide: true, of: (i) => tensors[i].elements, cell: (i) => tensors[i].shape.join(" × ") || "scalar" },
    { key: "encoding", title: "Packed as", left: true, of: (i) => errors_of(i)?.encoding ?? "", is_text: true, cell: (i) => errors_of(i)?.encoding ?? "–" },
    { key: "bits", title: "Bits", wide: true, of: (i) => bits_of(i), cell: (i) => figure(bits_of(i)) },
    { key: "relative_rmse", title: "Relative RMSE", of: (i) => measures.relative_rmse.of(i) },
    { key: "sqnr_db", title: "SQNR, dB", wide: true, of: (i) => measures.sqnr_db.of(i), cell: (i) => decimals(errors_of(i)?.sqnr_db, 1) },
    { key: "max_abs_error", title: "Largest error", wide: true, of: (i) => measures.max_abs_error.of(i), cell: (i) => figure(errors_of(i)?.max_abs_error) },
    { key: "cosine", title: "Cosine", wide: true, of: (i) => number_of(errors_of(i)?.cosine), cell: (i) => decimals(errors_of(i)?.cosine, 6) },
  ];
  let found = [];

  function find_rows() {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    const among = state.chosen ? state.chosen.places : tensors.keys();
    found = [];
    for (const i of among) {
      if (state.kind !== "" && tensors[i].kind !== Number(state.kind)) continue;
      if (state.encoding !== "" && errors_of(i)?.encoding !== state.encoding) continue;
      if (words.every((word) => names_in_lower_case[i].includes(word))) found.push(i);
    }
    const column = columns.find((each) => each.key === state.sort);
    const keys = new Map(found.map((i) => [i, column.of(i)]));
    const sign = state.ascending ? 1 : -1;
    found.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (column.is_text) return sign * (x < y ? -1 : x > y ? 1 : 0) || a - b;
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return x === y ? a - b : sign * (x < y ? -1 : 1);
    });
  }

  function draw_head() {
    by_id("table-head").replaceChildren(...columns.map((column) =>
      element("th", { scope: "col", class: `${column.left ? "left" : ""} ${column.wide ? "wide" : ""}`, "aria-sort": state.sort === column.key ? (state.ascending ? "ascending" : "descending") : "none" },
        element("button", { type: "button", "data-sort": column.key, onclick: () => sort_by(column) }, column.title))));
  }
  function sort_by(column) {
    state.ascending = state.sort === column.key ? !state.ascending : column.is_text === true || column.key === "layer";
    state.sort = column.key;
    state.page = 0;
    draw_table();
    by_id("table-head").querySelector(`[data-sort="${column.key}"]`).focus();
  }

  function draw_table() {
    find_rows();
    draw_head();
    draw_rows();
  }
  function draw_rows() {
    const pages = Math.max(1, Math.ceil(found.length / rows_per_page));
    state.page = Math.min(state.page, pages - 1);
    const range = range_of(measures.relative_rmse, tensors.keys());
    const shown = found.slice(state.page * rows_per_page, (state.page + 1) * rows_per_page);
    by_id("table-body").replaceChildren(...shown.map((i) => element("tr", { "data-tensor": i }, columns.map((column) => {
      if (column.key === "name") return element("th", { scope: "row", class: "left" }, element("button", { type: "button", class: "link", onclick: () => open_tensor(i) }, breakable(tensors[i].name)));
      const attributes = { class: `${column.left ? "left" : ""} ${column.wide ? "wide" : ""}` };
      if (column.key !== "relative_rmse") return element("td", attributes, column.cell(i));
      const value = column.of(i);
      const share = is_exact(i) || Number.isNaN(value) ? 0 : range.share(value);
      return element("td", attributes,
        element("span", { class: "error-bar", "aria-hidden": "true", style: { "--part": `${is_exact(i) || Number.isNaN(value) ? 0 : 8 + 92 * share}%`, "--fill": scale_colour(0.25 + 0.6 * share) } }),
        is_exact(i) ? "exact" : figure(value));
    }))));
    by_id("found").textContent = `${counted(found.length, "tensor")}${state.chosen ? ` of ${state.chosen.title}` : ""}${found.length === tensors.length ? "" : ` of ${grouped(tensors.length)}`}.`;
    by_id("clear").hidden = !(state.chosen || state.query || state.kind !== "" || state.encoding !== "");
    const go = (title, label, page, is_possible) => element("button", { type: "button", class: "button", "aria-label": label, disabled: !is_possible, onclick: () => {
      state.page = page;
      draw_rows();
    } }, title);
    by_id("pages").hidden = pages === 1;
    by_id("pages").replaceChildren(
      go("«", "First page", 0, state.page > 0), go("‹", "Previous page", state.page - 1, state.page > 0),
      element("span", { role: "status" }, `Page ${grouped(state.page + 1)} of ${grouped(pages)}`),
      go("›", "Next page", state.page + 1, state.page + 1 < pages), go("»", "Last page", pages - 1, state.page + 1 < pages));
  }
  function draw_filters() {
    const kind = by_id("filter-kind");
    kind.replaceChildren(element("option", { value: "" }, "all"), ...kinds.map((name, i) => element("option", { value: i }, name)));
    kind.value = state.kind;
    const encodings = [...new Set(tensors.map((_, i) => errors_of(i)?.encoding).filter(Boolean))].sort();
    const select = by_id("filter-encoding");
    select.replaceChildren(element("option", { value: "" }, "all"), ...encodings.map((name) => element("option", { value: name }, name)));
    select.value = state.encoding;
    by_id("search").value = state.query;
  }
  function clear_filters() {
    Object.assign(state, { query: "", kind: "", encoding: "", chosen: null, page: 0 });
    draw_filters();
  }
  function show_some(places, title) {
    clear_filters();
    state.chosen = { places, title };
    draw_table();
    by_id("tensors").scrollIntoView();
    by_id("table-body").querySelector("button")?.focus({ preventScroll: true });
  }
  by_id("search").addEventListener("input", (event) => {
    Object.assign(state, { query: event.target.value, page: 0 });
    draw_table();
  });
  by_id("filter-kind").addEventListener("change", (event) => {
    Object.assign(state, { kind: event.target.value, page: 0 });
    draw_table();
  });
  by_id("filter-encoding").addEventListener("change", (event) => {
    Object.assign(state, { encoding: event.target.value, page: 0 });
    draw_table();
  });
  by_id("clear").addEventListener("click", () => {
    clear_filters();
    draw_table();
    by_id("search").focus();
  });

  // ---- Details -------------------------------------------------------------------------------------------

  const dialog = by_id("details");
  let lines = null; // each is parsed when it is asked for
  function details_of(i) {
    lines ??= by_id("detail-lines").textContent.split("\n");
    return JSON.parse(lines[i]);
  }

  function values_chart(values, packed) {
    const width = 620;
    const height = 190;
    const edge = { left: 8, right: 8, top: 8, bottom: 26 };
    const count = values.counts.length;
    const most = Math.max(...values.counts, ...(packed?.counts ?? []), 1);
    const x = (part) => edge.left + (part / count) * (width - edge.left - edge.right);
    const y = (number) => height - edge.bottom - (number / most) * (height - edge.top - edge.bottom);
    const chart = picture(width, height, `Distribution of values from ${figure(values.from)} to ${figure(values.to)}`);
    packed?.counts.forEach((number, i) => {
      chart.append(drawn("rect", { class: "bar packed", x: x(i) + 0.5, y: y(number), width: x(1) - x(0) - 1, height: height - edge.bottom - y(number) }));
    });
    let path = `M${x(0)},${y(0)}`;
    values.counts.forEach((number, i) => (path += `V${y(number)}H${x(i + 1)}`));
    chart.append(drawn("path", { class: "outline", d: `${path}V${y(0)}` }));
    chart.append(line_from(edge.left, height - edge.bottom, width - edge.right, height - edge.bottom, "axis"));
    const middle = (values.from + values.to) / 2;
    [[0, values.from, "start"], [count / 2, middle, "middle"], [count, values.to, "end"]].forEach(([part, value, anchor]) => chart.append(text_at(x(part), height - 8, figure(value), { "text-anchor": anchor })));
    values.counts.forEach((number, i) => {
      const from = values.from + ((values.to - values.from) * i) / count;
      const to = values.from + ((values.to - values.from) * (i + 1)) / count;
      const area = drawn("rect", { x: x(i), y: edge.top, width: x(1) - x(0), height: height - edge.top - edge.bottom, fill: "transparent" });
      chart.append(with_tip(area, `${figure(from)} to ${figure(to)}`, `MODEL: ${counted(number, "value")}`, packed ? `packed: ${counted(packed.counts[i], "value")}` : ""));
    });
    return chart;
  }

  const facts = (list) => element("dl", { class: "facts" }, list.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));

  function compared_files(i) {
    const figures = [
      ["Packed as", (errors) => errors.encoding, "left"],
      ["Bits", (errors, file) => figure(bits_of(i, file))],
      ["Relative RMSE", (errors) => (errors.equal ? "exact" : figure(errors.relative_rmse, 4))],
      ["SQNR, dB", (errors) => decimals(errors.sqnr_db, 2)],
      ["Largest error", (errors) => figure(errors.max_abs_error)],
      ["Cosine", (errors) => decimals(errors.cosine, 6)],
    ];
    return element("div", { class: "table-frame", tabindex: "0", role: "region", "aria-label": "Errors by file" }, element("table", { class: "compare" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col", class: "left" }, "File"), figures.map(([name, , side]) => element("th", { scope: "col", class: side ?? "" }, name)))),
      element("tbody", {}, files.map((_, file) => {
        const errors = errors_of(i, file);
        return element("tr", { "data-chosen": file === state.file },
          element("th", { scope: "row", class: "left" }, element("button", { type: "button", class: "link", onclick: () => {
            choose_file(file);
            draw_details();
          } }, short_names[file])),
          figures.map(([, of, side]) => element("td", { class: side ?? "" }, errors ? of(errors, file) : "–")));
      }))));
  }

  function draw_details() {
    const i = state.tensor;
    const tensor = tensors[i];
    const values = details_of(i);
    const packed = values.files[state.file];
    by_id("details-kind").textContent = tensor.layer === null ? "outside the layers" : `layer ${tensor.layer}`;
    by_id("details-name").replaceChildren(...breakable(tensor.name));
    const place = found.indexOf(i);
    by_id("details-previous").disabled = place <= 0;
    by_id("details-next").disabled = place < 0 || place + 1 >= found.length;
    const body = [
      facts([
        ["Shape", tensor.shape.join(" × ") || "scalar"], ["Elements", grouped(tensor.elements)], ["Stored as", tensor.encoding],
        ["Lowest", figure(values.lowest)], ["Highest", figure(values.highest)], ["Mean", figure(values.mean)], ["Standard deviation", figure(values.standard_deviation)],
        ["Zeros", grouped(values.zeros)], ...(values.non_finite ? [["NaN or infinite", grouped(values.non_finite)]] : []),
      ]),
      compared_files(i),
    ];
    if (values.lowest !== null) {
      const beyond = values.below + values.above;
      body.push(element("div", { class: "panel" }, element("h3", {}, "Distribution of values"), values_chart(values, packed),
        element("p", { class: "key" }, element("span", {}, "MODEL"), packed ? element("span", { class: "key-packed" }, short_names[state.file]) : null,
          beyond ? element("span", { class: "key-none" }, `${counted(beyond, "value")} beyond five standard deviations`) : null)));
    }
    if (packed?.positions) body.push(element("div", { class: "panel" }, element("h3", {}, `Values against the grid of ${errors_of(i).encoding}`), ...positions_chart(packed.positions)));
    if (packed?.blocks.length) {
      const [worst, ...others] = packed.blocks;
      body.push(element("div", { class: "panel" }, element("h3", {}, `Worst block: ${block_place(worst)}`), block_chart(worst, 150),
        element("p", { class: "key" }, element("span", { class: "key-ring" }, "MODEL"), element("span", { class: "key-dot" }, short_names[state.file]),
          element("span", { class: "key-none" }, `RMSE ${figure(worst.rmse)}, ${figure(worst.relative_rmse)} of the tensor's root mean square, ${percent(worst.share_of_squared_error)} of its squared error`)),
        others.length ? element("p", { class: "quiet" }, `Then ${others.map((block) => `${block_place(block)} (${figure(block.rmse)})`).join("; ")}.`) : null));
    }
    const go = (title, act) => element("button", { type: "button", class: "link", onclick: act }, title);
    body.push(element("p", { class: "links" },
      go("Its row in the table", () => close_details(() => show_row(i))),
      go("All of its kind", () => close_details(() => {
        clear_filters();
        state.kind = String(tensor.kind);
        draw_filters();
        draw_table();
        show_row(i);
      })),
      tensor.layer === null ? null : go("Its cell in the heat map", () => close_details(() => {
        canvas.scrollIntoView({ block: "center" });
        canvas.focus({ preventScroll: true });
      }))));
    by_id("details-body").replaceChildren(...body);
  }

  // Turns to the page of the table that has a tensor, and puts the focus on it.
  function show_row(i) {
    if (!found.includes(i)) {
      clear_filters();
      find_rows();
      draw_head();
    }
    state.page = Math.floor(found.indexOf(i) / rows_per_page);
    draw_rows();
    const row = by_id("table-body").querySelector(`[data-tensor="${i}"]`);
    row.scrollIntoView({ block: "center" });
    row.querySelector("button").focus({ preventScroll: true });
  }

  function open_tensor(i) {
    hide_tip();
    state.tensor = i;
    if (tensors[i].layer !== null) state.cell = { row: heat_kinds.indexOf(tensors[i].kind), column: layers.indexOf(tensors[i].layer) };
    draw_details();
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    by_id("details-name").focus({ preventScroll: true });
    request_heat();
    if (location.hash !== `#tensor-${i}`) history.replaceState(null, "", `#tensor-${i}`);
  }
  let after_closing = null;
  function close_details(then = null) {
    after_closing = then;
    dialog.close();
  }
  dialog.addEventListener("close", () => {
    hide_tip();
    history.replaceState(null, "", location.pathname + location.search);
    after_closing?.();
    after_closing = null;
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && event.clientX < dialog.getBoundingClientRect().left) close_details();
  });
  const step = (by) => () => {
    const next = found[found.indexOf(state.tensor) + by];
    if (next !== undefined) open_tensor(next);
  };
  by_id("details-previous").addEventListener("click", step(-1));
  by_id("details-next").addEventListener("click", step(1));
  by_id("details-close").addEventListener("click", () => close_details());
  function open_linked() {
    const linked = /^#tensor-(\d+)$/.exec(location.hash);
    if (linked && tensors[Number(linked[1])]) open_tensor(Number(linked[1]));
  }
  window.addEventListener("hashchange", open_linked);

  // ---- Theme ---------------------------------------------------------------------------------------------

  const system_is_dark = window.matchMedia("(prefers-color-scheme: dark)");
  // A browser may refuse to remember anything for a page from a file.
  const remembered = {
    get() {
      try {
        return localStorage.getItem("nibble-report-theme");
      } catch {
        return null;
      }
    },
    set(theme) {
      try {
        localStorage.setItem("nibble-report-theme", theme);
      } catch {
        return;
      }
    },
  };
  function set_theme(theme) {
    document.documentElement.dataset.theme = theme;
    by_id("theme").textContent = theme === "dark" ? "☀ Light" : "☾ Dark";
    by_id("theme").setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
  }
  by_id("theme").addEventListener("click", () => {
    set_theme(is_dark() ? "light" : "dark");
    remembered.set(document.documentElement.dataset.theme);
    draw_all();
  });
  system_is_dark.addEventListener("change", () => {
    if (remembered.get()) return;
    set_theme(system_is_dark.matches ? "dark" : "light");
    draw_all();
  });

  // ---- All -----------------------------------------------------------------------------------------------

  function draw_all() {
    draw_files();
    draw_trade();
    draw_heat();
    draw_positions();
    draw_blocks();
    draw_filters();
    draw_table();
  }

  set_theme(remembered.get() ?? (system_is_dark.matches ? "dark" : "light"));
  document.title = `${last_part(reference.file)} – nibble report`;
  by_id("title").textContent = last_part(reference.file);
  by_id("subtitle").textContent = [
    `MODEL: ${bytes_text(reference.file_bytes)}`, counted(tensors.length, "tensor"), counted(reference.elements, "value"),
    ...(has_perplexity ? [`perplexity ${figure(reference.perplexity.perplexity, 5)} on ${last_part(data.text)}, ${counted(reference.perplexity.scored_tokens, "token")}`] : []),
  ].join(" · ");
  by_id("made-by").textContent = `Made by nibble ${data.nibble} from ${reference.file} and ${files.map((file) => file.file).join(", ")}. Errors are those of nibble diff: relative RMSE is the root of the summed squared errors over the summed squares of MODEL's values, SQNR −20 log₁₀ of it.`;
  by_id("heat-measure").replaceChildren(...Object.entries(measures).map(([key, measure]) => element("option", { value: key }, measure.title)));
  by_id("heat-measure").addEventListener("change", (event) => {
    state.measure = event.target.value;
    draw_heat();
  });
  by_id("positions-encoding").addEventListener("change", draw_positions);
  new ResizeObserver(request_heat).observe(by_id("heat-frame"));
  draw_all();
  open_linked();
})();
