"use strict";
// The picture: what was seen is one object, everything drawn is a function of it and of `look`.
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const S = D.strings;
  const turns = D.turns.map(([number, at, node, ins, outs, flags, change], index) => ({
    index, number, at, node, flags, change,
    ins: ins.map((i) => S[i]), outs: outs.map((i) => S[i]),
    notable: (flags & 1) > 0, fresh: (flags & 2) > 0, sent: [], read: [], before: -1,
  }));
  const byNumber = new Map(turns.map((turn) => [turn.number, turn]));
  const messages = D.messages.map(([family, label, from, sentTurn, sentAt, to, readTurn, readAt]) => ({
    family, label: S[label], from, sentTurn, sentAt, to, readTurn, readAt,
  }));
  for (const message of messages) {
    byNumber.get(message.sentTurn)?.sent.push(message);
    byNumber.get(message.readTurn)?.read.push(message);
  }
  const newest = D.nodes.map(() => -1);
  for (const turn of turns) {
    turn.before = turn.fresh ? -1 : newest[turn.node];
    newest[turn.node] = turn.index;
    turn.text = [D.nodes[turn.node], ...turn.ins, ...turn.outs].join("\n").toLowerCase();
  }
  const first = turns.length ? turns[0].at : 0;
  const last = turns.length ? Math.max(turns[turns.length - 1].at, first + 1) : 1;
  const wrong = byNumber.get(D.centre) ?? turns[turns.length - 1];
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  // What is looked at: a window of time, a turn, and what is left out.
  const look = {
    from: first, upto: last, cursor: wrong?.index ?? 0, families: new Set(D.families.keys()),
    lanes: new Set(D.nodes.keys()), query: "", past: false,
  };

  // Words.
  const seconds = (at) => `${(at / 1e6).toFixed(6)} s`;
  const span = (us) => {
    const size = Math.abs(us);
    if (size < 1000) return `${Math.round(us)} µs`;
    if (size < 1e6) return `${(us / 1000).toPrecision(3).replace(/\.?0+$/, "")} ms`;
    return `${(us / 1e6).toPrecision(4).replace(/\.?0+$/, "")} s`;
  };
  const signed = (us) => (us === 0 ? "" : `, ${span(Math.abs(us))} ${us < 0 ? "before" : "after"} the first wrong event`);
  const make = (name, attributes = {}, ...children) => {
    const svg = /^(svg|g|path|line|circle|rect|text|title)$/.test(name);
    const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // Which turns are shown at all.
  const isShown = (turn) => look.lanes.has(turn.node) && (look.query === "" || turn.text.includes(look.query));
  let shown = turns.filter(isShown);

  // What could have caused a turn: what its node did before, and what was read on the way.
  function causes(turn) {
    const found = new Set();
    const open = [turn.index];
    while (open.length) {
      const index = open.pop();
      if (index < 0 || found.has(index)) continue;
      found.add(index);
      open.push(turns[index].before);
      for (const message of turns[index].read) {
        const sender = byNumber.get(message.sentTurn);
        if (sender) open.push(sender.index);
      }
    }
    return found;
  }

  // The states of all nodes after a turn, and what that turn changed.
  function states(upto) {
    const all = D.before.map((state) => new Map(Object.entries(state)));
    const changed = new Map();
    for (let index = 0; index <= upto && index < turns.length; index += 1) {
      const turn = turns[index];
      if (turn.fresh) all[turn.node].clear();
      for (const [key, value] of turn.change) {
        const name = S[key];
        if (index === upto) changed.set(name, [all[turn.node].get(name), value === null ? undefined : S[value]]);
        if (value === null) all[turn.node].delete(name);
        else all[turn.node].set(name, S[value]);
      }
    }
    return { all, changed };
  }

  // Geometry.
  const picture = $("picture");
  const overview = $("overview");
  const GUTTER = 58;
  const AXIS = 24;
  const BAND = 15;
  let width = 800;
  let top = AXIS;
  let lane = 60;
  const x = (at) => GUTTER + ((at - look.from) / (look.upto - look.from)) * (width - GUTTER - 14);
  const at = (place) => look.from + ((place - GUTTER) / (width - GUTTER - 14)) * (look.upto - look.from);
  const y = (node) => top + lane * (node + 0.5);

  // Faults in as few rows as keep them apart.
  function packed() {
    const rows = [];
    const visible = D.bands.filter((band) => band[2] <= look.upto && (band[3] ?? band[2]) >= look.from);
    for (const band of visible) {
      const from = x(Math.max(band[2], look.from));
      const upto = Math.max(x(Math.min(band[3] ?? band[2], look.upto)), from + 5);
      let row = rows.findIndex((end) => end < from - 3);
      if (row < 0) row = rows.length < 7 ? rows.push(0) - 1 : rows.indexOf(Math.min(...rows));
      rows[row] = upto;
      band.place = { row, from, upto };
    }
    return { visible, rows: rows.length };
  }

  function draw() {
    width = Math.max(320, $("diagram").clientWidth);
    const { visible, rows } = packed();
    top = AXIS + rows * BAND + 10;
    lane = Math.max(34, Math.min(76, 460 / D.nodes.length));
    const height = top + lane * D.nodes.length + 10;
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    const parts = [];
    axis(parts, height);
    const clip = make("rect", { x: GUTTER, y: 0, width: width - GUTTER - 1, height });
    const frame = document.createElementNS("http://www.w3.org/2000/svg", "clipPath");
    frame.id = "frame";
    frame.append(clip);
    parts.push(frame);
    faults(parts, visible);
    lanes(parts);
    const past = look.past && turns[look.cursor] ? causes(turns[look.cursor]) : null;
    const inside = [];
    arrows(inside, past);
    marks(inside, past);
    parts.push(make("g", { "clip-path": "url(#frame)" }, ...inside));
    flags(parts, height);
    picture.replaceChildren(...parts);
    drawOverview();
  }

  function axis(parts, height) {
    const steps = [1, 2, 5].flatMap((digit) => [...Array(10).keys()].map((power) => digit * 10 ** power)).sort((a, b) => a - b);
    const step = steps.find((size) => (look.upto - look.from) / size <= width / 110) ?? 1e9;
    const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
    for (let tick = Math.ceil(look.from / step) * step; tick <= look.upto; tick += step) {
      parts.push(make("line", { class: "tick", x1: x(tick), x2: x(tick), y1: AXIS - 4, y2: height }));
      if (x(tick) < width - 40) {
        parts.push(make("text", { x: x(tick) + 4, y: AXIS - 9 }, `${(tick / 1e6).toFixed(Math.min(digits, 6))} s`));
      }
    }
  }

  const PACKETS = new Set(["loss", "dup", "reorder", "replay", "delay", "disk_slow", "service", "crash_effect"]);
  function faults(parts, visible) {
    for (const [name, label, from, upto, machines] of visible.map((band) => [...band])) {
      const band = visible.find((one) => one[0] === name && one[1] === label && one[2] === from);
      const { row, from: left, upto: right } = band.place;
      const bar = make("rect", { class: "band", x: left, y: AXIS + row * BAND, width: right - left, height: BAND - 3, rx: 2 });
      bar.append(make("title", {}, `${label}, ${seconds(from)}${upto === null ? "" : ` to ${seconds(upto)}`}`));
      parts.push(bar);
      if (right - left > 46) {
        const room = Math.floor((right - left - 8) / 6);
        parts.push(make("text", { class: "band-name", x: left + 4, y: AXIS + row * BAND + 9.5 }, label.length > room ? `${label.slice(0, room - 1)}…` : label));
      }
      if (PACKETS.has(name) || machines.length === D.nodes.length) continue;
      for (const machine of machines) {
        parts.push(make("rect", { class: "shade", x: left, y: y(machine) - lane * 0.32, width: right - left, height: lane * 0.64, rx: 3 }));
      }
    }
  }

  function lanes(parts) {
    D.nodes.forEach((name, node) => {
      const dim = look.lanes.has(node) ? "" : " dim";
      let from = look.from;
      const gaps = D.gaps.filter((gap) => gap[0] === node && gap[1] <= look.upto && (gap[2] ?? last) >= look.from);
      for (const gap of [...gaps, [node, look.upto, look.upto]]) {
        const begin = Math.max(gap[1], look.from);
        const end = Math.min(gap[2] ?? look.upto, look.upto);
        if (begin > from) parts.push(make("line", { class: `lane-line${dim}`, x1: x(from), x2: x(begin), y1: y(node), y2: y(node) }));
        if (end > begin) parts.push(make("path", { class: `down${dim}`, d: `M${x(begin)} ${y(node)}H${x(end)}` }));
        from = Math.max(from, end);
      }
      const label = make("text", { class: `lane-name${dim}`, x: 16, y: y(node) + 4.5 }, name.length > 7 ? `${name.slice(0, 6)}…` : name);
      label.append(make("title", {}, name));
      parts.push(label);
    });
  }

  // The first turn at or after a time.
  function lower(time) {
    let [low, high] = [0, turns.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (turns[middle].at < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function arrows(parts, past) {
    const here = turns[look.cursor];
    const inSight = messages.filter((message) =>
      look.families.has(message.family) && message.sentAt <= look.upto && (message.readAt ?? message.sentAt) >= look.from
      && (message.readAt !== null || (message.sentAt >= look.from)));
    if (inSight.length > 2500) return;
    const names = [];
    for (const message of inSight) {
      const sender = byNumber.get(message.sentTurn);
      const reader = byNumber.get(message.readTurn);
      const hidden = (sender && !isShown(sender) && !(reader && isShown(reader))) || (!sender && reader && !isShown(reader));
      const outside = past && !(reader && past.has(reader.index) && (!sender || past.has(sender.index)));
      const near = here && (sender === here || reader === here);
      const style = `f${message.family}${hidden || (outside && !near) ? " dim" : ""}`;
      const [x1, y1] = [x(message.sentAt), y(message.from)];
      if (message.readAt === null) {
        const down = message.to === null ? 0.3 : Math.sign(message.to - message.from) * 0.32;
        const [x2, y2] = [x1 + 11, y1 + lane * down];
        parts.push(make("path", { class: `message lost ${style}${near ? " near" : ""}`, d: `M${x1} ${y1}L${x2} ${y2}` }));
        parts.push(make("path", { class: `cross ${style}`, d: `M${x2 - 2.5} ${y2 - 2.5}l5 5m0-5l-5 5` }));
        continue;
      }
      const [x2, y2] = [x(message.readAt), y(message.to)];
      const line = make("path", { class: `message ${style}${near ? " near" : ""}`, d: `M${x1} ${y1}L${x2} ${y2}` });
      const took = D.recorded === null ? `, ${span(message.readAt - message.sentAt)}` : "";
      line.append(make("title", {}, `${D.nodes[message.from]} → ${D.nodes[message.to]}: ${message.label}${took}`));
      parts.push(line);
      const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
      parts.push(make("path", { class: `tip ${style}`, d: "M-3.5 0l-7-3v6z", transform: `translate(${x2} ${y2}) rotate(${angle})` }));
      if (near) {
        // In the middle of what is visible of it.
        const middle = (Math.max(x1, GUTTER) + Math.min(x2, width)) / 2;
        const part = x2 > x1 ? (middle - x1) / (x2 - x1) : 0.5;
        names.push([message, middle, y1 + (y2 - y1) * part]);
      }
    }
    if (names.length <= 6) {
      for (const [message, place, height] of names) {
        parts.push(make("text", { class: `message-name f${message.family}`, x: Math.min(place + 6, width - 130), y: height - 9 },
          message.label.length > 42 ? `${message.label.slice(0, 41)}…` : message.label));
      }
    }
  }

  function marks(parts, past) {
    const begin = lower(look.from);
    const end = lower(look.upto + 1);
    const many = end - begin > 1500;
    for (let index = begin; index < end; index += 1) {
      const turn = turns[index];
      const dim = !isShown(turn) || (past && !past.has(index)) ? " dim" : "";
      const [left, middle] = [x(turn.at), y(turn.node)];
      if (many && !turn.notable) {
        parts.push(make("line", { class: `mark many${dim}`, x1: left, x2: left, y1: middle - 3, y2: middle + 3 }));
        continue;
      }
      parts.push(make("circle", { class: `mark${turn.notable ? " notable" : ""}${dim}`, cx: left, cy: middle, r: turn.notable ? 4 : 2.8 }));
    }
  }

  function flags(parts, height) {
    const here = turns[look.cursor];
    const visible = (turn) => turn && turn.at >= look.from && turn.at <= look.upto;
    if (D.failure && visible(wrong)) {
      const left = x(wrong.at);
      parts.push(make("line", { class: "wrong-line", x1: left, x2: left, y1: AXIS, y2: height }));
      parts.push(make("circle", { class: "wrong-ring", cx: left, cy: y(wrong.node), r: 8 }));
      const side = left > width - 150 ? { x: left - 12, "text-anchor": "end" } : { x: left + 12 };
      parts.push(make("text", { class: "wrong-name", y: y(wrong.node) - 11, ...side }, D.failure.id === "panic" ? "gives up here" : D.failure.message.startsWith("then ") ? "not as expected" : `${D.failure.id} is broken here`));
    }
    if (visible(here)) {
      const left = x(here.at);
      parts.push(make("line", { class: "cursor", x1: left, x2: left, y1: AXIS - 4, y2: height }));
      parts.push(make("circle", { class: "cursor-ring", cx: left, cy: y(here.node), r: 11.5 }));
    }
  }

  function drawOverview() {
    const wide = Math.max(320, overview.clientWidth);
    overview.setAttribute("viewBox", `0 0 ${wide} 46`);
    const place = (time) => GUTTER + ((time - first) / (last - first)) * (wide - GUTTER - 14);
    const bins = new Array(Math.floor((wide - GUTTER - 14) / 3)).fill(0);
    for (const turn of turns) bins[Math.min(bins.length - 1, Math.floor(((turn.at - first) / (last - first)) * bins.length))] += 1;
    const most = Math.max(...bins, 1);
    const parts = [make("text", { x: 16, y: 27 }, "all")];
    bins.forEach((count, bin) => {
      if (count === 0) return;
      const size = 3 + 27 * Math.sqrt(count / most);
      parts.push(make("rect", { class: "bar", x: GUTTER + bin * 3, y: 40 - size, width: 2, height: size }));
    });
    for (const [, , from, upto] of D.bands) {
      const left = place(Math.max(from, first));
      const right = place(Math.min(Math.max(upto ?? from, first), last));
      if (from <= last && (upto ?? from) >= first) parts.push(make("rect", { class: "band", x: left, y: 41.5, width: Math.max(2, right - left), height: 2.5 }));
    }
    if (D.failure) parts.push(make("line", { class: "wrong-line", x1: place(wrong.at), x2: place(wrong.at), y1: 2, y2: 46 }));
    const [left, right] = [place(look.from), place(look.upto)];
    parts.push(make("rect", { class: "window", x: left, y: 2, width: Math.max(right - left, 3), height: 42, rx: 3 }));
    overview.replaceChildren(...parts);
  }

  // Beside and below the picture.
  function list(heading, lines, most = 14) {
    const items = lines.slice(0, most).map((line) => make("li", {}, ...[line].flat()));
    if (lines.length > most) items.push(make("li", {}, `and ${lines.length - most} more`));
    if (!items.length) items.push(make("li", {}, "nothing"));
    return make("div", {}, make("h3", {}, heading), make("ul", {}, ...items));
  }

  function tell() {
    const turn = turns[look.cursor];
    if (!turn) return;
    const { all, changed } = states(look.cursor);
    const name = D.nodes[turn.node];
    const isWrong = D.failure && turn === wrong;
    $("event-heading").textContent = `${name} at ${seconds(turn.at)}`;
    const changes = [...changed].map(([key, [old, value]]) => [`${key}: `, ...(old === undefined ? [] : [make("del", {}, old), " "]), value === undefined ? "gone" : make("ins", {}, value)]);
    $("event").replaceChildren(make("div", { class: "columns" }, list("Came in", turn.ins), list("Went out", turn.outs), list("Changed", changes)));
    $("said").textContent = `${isWrong ? "First wrong event. " : ""}${name}, turn ${turn.number}${D.failure ? signed(turn.at - wrong.at) : ""}: ${[...turn.ins.slice(0, 2), ...turn.outs.slice(0, 1)].join("; ")}`;
    document.body.dataset.cursor = turn.number;
    document.body.dataset.wrong = String(Boolean(isWrong));
    for (const button of $("story").querySelectorAll("button")) {
      if (Number(button.dataset.turn) === turn.number) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    believe(all, changed, turn);
  }

  function believe(all, changed, turn) {
    const names = new Set(all.flatMap((state) => [...state.keys()]));
    const order = ["self", "member", "link", "map", "worker"];
    const rank = (key) => order.indexOf(key.split(" ")[0]);
    const keys = [...names, ...[...changed.keys()].filter((key) => !names.has(key))]
      .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true }));
    const only = $("differing").checked;
    const rows = [];
    for (const key of keys) {
      const values = all.map((state) => state.get(key));
      const said = values.filter((value) => value !== undefined);
      const counts = new Map();
      for (const value of said) counts.set(value, (counts.get(value) ?? 0) + 1);
      const common = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
      const comparable = !/^(self|link)/.test(key);
      const differs = comparable && counts.size > 1;
      if (only && !differs && !changed.has(key)) continue;
      const cells = values.map((value, node) => {
        const classes = [value === undefined ? "none" : "", differs && value !== undefined && value !== common ? "other" : "",
          node === turn.node && changed.has(key) ? "changed" : ""].filter(Boolean).join(" ");
        return make("td", classes ? { class: classes } : {}, value ?? "–");
      });
      rows.push(make("tr", {}, make("th", { scope: "row" }, key), ...cells));
    }
    const head = make("tr", {}, make("th", { scope: "col" }, make("span", { class: "quiet" }, "What")),
      ...D.nodes.map((name, node) => make("th", node === turn.node ? { scope: "col", "data-here": "" } : { scope: "col" }, name)));
    const about = rows.length === 0 ? "All nodes believe the same." : `After turn ${turn.number}. What the turn changed is marked; what a node believes alone is in colour.`;
    $("state").replaceChildren(make("caption", {}, about), make("thead", {}, head), make("tbody", {}, ...rows));
  }

  // Moving.
  function show(from, upto) {
    const size = Math.min(Math.max(upto - from, 40), (last - first) * 1.04 + 40);
    const begin = Math.min(Math.max(from, first - size * 0.02), Math.max(last + size * 0.02 - size, first - size * 0.02));
    [look.from, look.upto] = [begin, begin + size];
  }
  function reveal(turn) {
    const size = look.upto - look.from;
    const edge = size * 0.06;
    if (turn.at < look.from + edge || turn.at > look.upto - edge) show(turn.at - size / 2, turn.at + size / 2);
  }
  function go(turn) {
    if (!turn) return;
    look.cursor = turn.index;
    reveal(turn);
    draw();
    tell();
  }
  function step(by, sameNode) {
    const here = turns[look.cursor];
    const list = sameNode ? shown.filter((turn) => turn.node === here.node) : shown;
    let place = list.findIndex((turn) => turn.index >= look.cursor);
    if (place < 0) place = list.length;
    const exact = list[place]?.index === look.cursor;
    const next = by > 0 && !exact ? place + by - 1 : place + by;
    go(list[Math.min(Math.max(next, 0), list.length - 1)]);
  }
  function across(by) {
    const here = turns[look.cursor];
    for (let node = here.node + by; node >= 0 && node < D.nodes.length; node += by) {
      const there = shown.filter((turn) => turn.node === node);
      if (!there.length) continue;
      return go(there.reduce((best, turn) => (Math.abs(turn.at - here.at) < Math.abs(best.at - here.at) ? turn : best)));
    }
    return undefined;
  }
  function along() {
    const here = turns[look.cursor];
    const sender = here.read.map((message) => byNumber.get(message.sentTurn)).find(Boolean);
    const reader = here.sent.map((message) => byNumber.get(message.readTurn)).find(Boolean);
    go(sender ?? reader);
  }
  function zoom(factor, around) {
    const centre = around ?? turns[look.cursor]?.at ?? (look.from + look.upto) / 2;
    show(centre - (centre - look.from) * factor, centre + (look.upto - centre) * factor);
    draw();
  }
  function everything() {
    show(first - (last - first) * 0.02, last + (last - first) * 0.02);
    draw();
  }
  function centre() {
    if (!wrong) return;
    look.cursor = wrong.index;
    const place = wrong.index;
    const before = wrong.at - (turns[Math.max(0, place - 28)]?.at ?? wrong.at);
    const after = (turns[Math.min(turns.length - 1, place + 14)]?.at ?? wrong.at) - wrong.at;
    const half = Math.max(before, Math.min(after, before * 3), 1500) * 1.06;
    show(wrong.at - half, wrong.at + half);
    // The middle is where it is wrong, whatever lies at the ends.
    [look.from, look.upto] = [wrong.at - half, wrong.at + half];
    draw();
    tell();
  }
  function chapter(by) {
    const lines = D.story.map((line) => byNumber.get(line[2])).filter(Boolean);
    const place = by > 0 ? lines.findIndex((turn) => turn.index > look.cursor) : lines.findLastIndex((turn) => turn.index < look.cursor);
    if (place >= 0) go(lines[place]);
  }
  function filtered() {
    shown = turns.filter(isShown);
    draw();
    $("said").textContent = `${shown.length} of ${turns.length} events are shown.`;
  }

  const KEYS = {
    ArrowLeft: (event) => step(-1, event.shiftKey), ArrowRight: (event) => step(1, event.shiftKey),
    ArrowUp: () => across(-1), ArrowDown: () => across(1), Home: () => go(shown[0]), End: () => go(shown[shown.length - 1]),
    PageUp: () => step(-25), PageDown: () => step(25), "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: everything,
    f: centre, m: along, "[": () => chapter(-1), "]": () => chapter(1), c: () => $("past").click(), "/": () => $("query").focus(),
    "?": () => $("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type === "search";
    if (typing && event.key === "Escape") return $("diagram").focus();
    const scrolls = event.target.closest?.(".scroll, ol, details") && /^(Arrow|Page|Home|End)/.test(event.key);
    if (typing || scrolls || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return undefined;
    const act = KEYS[event.key];
    if (!act) return undefined;
    event.preventDefault();
    return act(event);
  });

  // The pointer: a click chooses, a drag moves, with a modifier the wheel zooms.
  const diagram = $("diagram");
  let drag = null;
  diagram.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, from: look.from, upto: look.upto, moved: false };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const by = ((event.clientX - drag.x) / (width - GUTTER - 14)) * (drag.upto - drag.from);
    drag.moved ||= Math.abs(event.clientX - drag.x) > 4;
    if (!drag.moved) return;
    show(drag.from - by, drag.upto - by);
    draw();
  });
  addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      const box = picture.getBoundingClientRect();
      const [left, height] = [event.clientX - box.left, event.clientY - box.top];
      const near = (turn) => Math.hypot(x(turn.at) - left, (y(turn.node) - height) * 1.5);
      const visible = shown.filter((turn) => turn.at >= look.from && turn.at <= look.upto);
      if (visible.length) go(visible.reduce((best, turn) => (near(turn) < near(best) ? turn : best)));
    }
    drag = null;
  });
  diagram.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const size = look.upto - look.from;
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event.clientX - picture.getBoundingClientRect().left));
    else { show(look.from + Math.sign(event.deltaY + event.deltaX) * size * 0.1, look.upto + Math.sign(event.deltaY + event.deltaX) * size * 0.1); draw(); }
  }, { passive: false });
  let sliding = false;
  const slide = (event) => {
    const box = overview.getBoundingClientRect();
    const middle = first + ((event.clientX - box.left - GUTTER) / (box.width - GUTTER - 14)) * (last - first);
    const size = look.upto - look.from;
    show(middle - size / 2, middle + size / 2);
    draw();
  };
  overview.addEventListener("pointerdown", (event) => { sliding = true; overview.setPointerCapture(event.pointerId); slide(event); });
  overview.addEventListener("pointermove", (event) => sliding && slide(event));
  overview.addEventListener("pointerup", () => { sliding = false; });

  // What is written once.
  function chip(place, label, colour, toggle) {
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => { toggle(box.checked); filtered(); });
    const text = make("span", {}, ...(colour === null ? [] : [make("i", { class: `f${colour}` })]), label);
    $(place).append(make("label", { class: "chip" }, box, text));
  }
  const toggle = (set, item) => (on) => (on ? set.add(item) : set.delete(item));
  D.families.forEach((name, family) => chip("families", name, family, toggle(look.families, family)));
  D.nodes.forEach((name, node) => chip("lanes", name, null, toggle(look.lanes, node)));
  $("query").addEventListener("input", () => { look.query = $("query").value.trim().toLowerCase(); filtered(); });
  $("past").addEventListener("change", () => { look.past = $("past").checked; draw(); });
  $("differing").addEventListener("change", tell);
  $("wrong").addEventListener("click", centre);
  $("in").addEventListener("click", () => zoom(0.5));
  $("out").addEventListener("click", () => zoom(2));
  $("all").addEventListener("click", everything);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  document.body.classList.toggle("failing", D.failure !== null);
  $("title").textContent = D.title;
  $("headline").textContent = D.headline;
  $("statement").textContent = D.statement ? `“${D.statement}”` : "";
  $("plan").textContent = D.plan;
  if (D.recorded !== null) for (const part of document.querySelectorAll("section.state, details.plan")) part.hidden = true;
  if (!D.failure) { $("wrong").textContent = "Last event"; $("story-heading").textContent = "What happened"; }
  const facts = [["Seed", D.seed], ["Time", D.failure ? seconds(D.failure.at) : null], ["Node", D.failure && D.failure.node !== null ? D.nodes[D.failure.node] : null],
    ["Again", D.command], ["Build", D.build]];
  $("meta").append(...facts.filter(([, value]) => value !== null).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
  $("story").append(...D.story.map(([time, node, number, kind, text]) => {
    const button = make("button", { type: "button", "data-kind": kind, "data-turn": number },
      make("time", {}, `${(time / 1e6).toFixed(3)} s`), make("b", {}, node === null ? "" : D.nodes[node]), make("span", {}, text));
    button.addEventListener("click", () => go(byNumber.get(number)));
    return make("li", {}, button);
  }));
  addEventListener("resize", draw);
  centre();
  $("story").querySelector("[data-kind=wrong]")?.scrollIntoView({ block: "nearest", behavior: still.matches ? "auto" : "smooth" });
  scrollTo(0, 0);
})();
