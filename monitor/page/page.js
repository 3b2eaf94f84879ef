// The status page. It requests /v1/status once a second while it is visible, and updates only
// changed cells. Of the partitions only the visible rows are in the document, so that a
// thousand cost no more than thirty.
'use strict';

const $ = (id) => document.getElementById(id);
const SAMPLES = 300; // seconds of the graphs at the top

// ---- state ----

const known = {
  status: null,
  rate: [],            // [time in s, value]
  lag: [],
  lags: new Map(),     // consumer and partition → last lags, five seconds apart
  lagsAt: 0,
  previous: new Map(), // worker → {cpu, at, use}, for its CPU usage
};
let token = sessionStorage.getItem('racecar-token') || '';

// ---- texts ----

const count = (n) => n === undefined || n === null || n < 0 ? '–' : Math.round(n).toLocaleString('en-US');
const rate = (r) => r < 0.05 ? '0' : r < 9.95 ? r.toFixed(1) : count(r);
function bytes(n) {
  if (!n) return '–';
  let i = 0;
  for (; n >= 999.5 && i < 4; i++) n /= 1024;
  return (n < 9.95 && i ? n.toFixed(1) : Math.round(n)) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][i];
}
function span(s) {
  s = Math.max(0, Math.floor(s));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' m ' + s % 60 + ' s';
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' m';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
}
const plural = (n, word) => count(n) + ' ' + word + (n === 1 ? '' : 's');
const since = (t) => t ? (Date.now() - Date.parse(t)) / 1000 : 0;
const workerName = (w) => w.consumer + '[' + w.index + ']';
const clock = (t) => new Date(t).toLocaleTimeString();
const tones = {
  running: 'good', quiet: 'blue', joining: 'blue', starting: 'blue', stopping: 'blue', waiting: 'warn', backoff: 'warn',
  outage: 'warn', paused: 'blue', stalled: 'warn', 'window full': 'warn', 'waiting keys': 'warn', blocked: 'bad', poisoned: 'bad', fatal: 'bad', exited: '',
};

// ---- the document ----

function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (k.startsWith('on')) e.addEventListener(k.slice(2), v);
    else if (v !== null && v !== undefined && v !== false) e.setAttribute(k, v);
  }
  e.append(...children);
  return e;
}
function text(e, s) { if (e.textContent !== s) e.textContent = s; }
function tone(e, name) { const c = 'pill ' + (name || ''); if (e.className !== c) e.className = c; }
function svg(tag) { return document.createElementNS('http://www.w3.org/2000/svg', tag); }

// line draws [x, y] pairs into a path; the highest y is the top.
function line(path, points, width, height, area) {
  let top = 0;
  for (const p of points) top = Math.max(top, p[1]);
  const d = points.map((p, i) => (i ? 'L' : 'M') + (p[0] * width).toFixed(1) + ' ' + (height - 1 - (top ? p[1] / top : 0) * (height - 3)).toFixed(1)).join('');
  path.setAttribute('d', !d || !area ? d : d + 'L' + (points[points.length - 1][0] * width).toFixed(1) + ' ' + height + 'L' + (points[0][0] * width).toFixed(1) + ' ' + height + 'Z');
}

// Kinds of cells. Each makes its element once and shows a value in it.
const cells = {
  text: { make: (td) => td, show: (e, v) => { text(e, v); if (e.title !== v) e.title = v; } },
  num: { make: (td) => { td.classList.add('num'); return td; }, show: text },
  state: { make: (td) => td.appendChild(el('span', { class: 'pill' })), show: (e, v) => { text(e, v); tone(e, tones[v]); } },
  spark: {
    make: (td) => { const s = svg('svg'); s.setAttribute('class', 'spark'); s.setAttribute('viewBox', '0 0 92 18'); s.setAttribute('aria-hidden', 'true'); td.append(s); return s.appendChild(svg('path')); },
    show: (e, v) => line(e, v.map((y, i) => [i / Math.max(1, v.length - 1), Math.max(0, y)]), 92, 18),
  },
  wrap: { make: (td) => { td.classList.add('wrap'); return td; }, show: text },
  actions: { make: (td) => td, show: (e, v) => { const k = v.map((b) => b.label).join(); if (e.dataset.k !== k) { e.dataset.k = k; e.replaceChildren(...v.map(button)); } } },
};

// Grid is a table of a list's items, which can be sorted, selected with the keyboard and opened
// with Enter. With virtual set, only visible rows exist.
class Grid {
  constructor(section, columns, options = {}) {
    this.section = $(section);
    this.columns = columns;
    Object.assign(this, { key: (x) => x.key, open: null, virtual: false, empty: 'None', sort: null, down: false }, options);
    this.scroll = this.section.querySelector('.scroll');
    this.body = this.section.querySelector('tbody');
    this.head = this.section.querySelector('thead');
    this.items = [];
    this.rows = new Map();
    this.chosen = null;
    this.drawHead();
    if (this.virtual) {
      this.before = el('tr', { class: 'space' }, el('td', { colspan: columns.length }));
      this.after = el('tr', { class: 'space' }, el('td', { colspan: columns.length }));
      this.scroll.addEventListener('scroll', () => this.drawSoon(), { passive: true });
      new ResizeObserver(() => this.drawSoon()).observe(this.scroll);
    }
    this.scroll.addEventListener('keydown', (e) => this.press(e));
  }

  drawHead() {
    const row = el('tr');
    for (const c of this.columns) {
      const th = el('th', { scope: 'col', class: c.kind === 'num' ? 'num' : c.class === 'text' ? 'text' : null });
      if (c.by) {
        th.append(el('button', { type: 'button', onclick: () => this.sortBy(c) }, c.title));
        if (this.sort === c.title) th.setAttribute('aria-sort', this.down ? 'descending' : 'ascending');
      } else th.append(el('span', {}, c.title));
      row.append(th);
    }
    this.head.replaceChildren(row);
  }

  sortBy(c) {
    this.down = this.sort === c.title ? !this.down : c.kind === 'num'; // numbers: the highest first
    this.sort = c.title;
    this.drawHead();
    this.show(this.items);
  }

  show(items) {
    const c = this.columns.find((c) => c.title === this.sort);
    this.items = items;
    if (c) {
      const sign = this.down ? -1 : 1;
      this.items = items.map((x) => [c.by(x), x]).sort((a, b) => sign * (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0)).map((p) => p[1]);
    }
    this.draw();
  }

  drawSoon() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.draw(); });
  }

  draw() {
    let from = 0, to = this.items.length;
    const height = 31;
    if (this.virtual) {
      from = Math.max(0, Math.floor(this.scroll.scrollTop / height) - 8);
      to = Math.min(to, from + Math.ceil((this.scroll.clientHeight || 600) / height) + 16);
    }
    const wanted = [];
    const seen = new Set();
    for (let i = from; i < to; i++) {
      const key = this.key(this.items[i]);
      if (seen.has(key)) continue;
      seen.add(key);
      let row = this.rows.get(key);
      if (!row) this.rows.set(key, row = this.make(key));
      row.item = this.items[i];
      for (let j = 0; j < this.columns.length; j++) cells[this.columns[j].kind || 'text'].show(row.cells[j], this.columns[j].value(row.item));
      const chosen = key === this.chosen;
      if (row.tr.classList.contains('chosen') !== chosen) row.tr.classList.toggle('chosen', chosen);
      wanted.push(row.tr);
    }
    for (const [key, row] of this.rows) if (!seen.has(key)) { row.tr.remove(); this.rows.delete(key); }
    if (!this.items.length) {
      if (!this.none) this.none = el('tr', { class: 'empty' }, el('td', { colspan: this.columns.length }));
      text(this.none.firstChild, this.empty);
      wanted.push(this.none);
    } else if (this.none) this.none.remove();
    if (this.virtual) {
      this.before.firstChild.style.height = from * height + 'px';
      this.after.firstChild.style.height = (this.items.length - to) * height + 'px';
      wanted.unshift(this.before);
      wanted.push(this.after);
    }
    let at = this.body.firstChild; // moves rows only where the order has changed
    for (const tr of wanted) {
      if (tr === at) at = at.nextSibling;
      else this.body.insertBefore(tr, at);
    }
  }

  make(key) {
    const row = { tr: el('tr', { class: this.open ? 'row' : '' }), cells: [] };
    for (const c of this.columns) {
      const td = el('td', { class: c.class || null });
      row.tr.append(td);
      row.cells.push(cells[c.kind || 'text'].make(td));
    }
    if (this.open) row.tr.addEventListener('click', (e) => { if (e.target.closest('button')) return; this.chosen = key; this.draw(); this.open(row.item); });
    return row;
  }

  press(e) {
    if (e.target !== this.scroll || e.ctrlKey || e.metaKey || e.altKey || !this.items.length) return;
    const page = Math.max(1, Math.floor(this.scroll.clientHeight / 31) - 2);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    let i = this.items.findIndex((x) => this.key(x) === this.chosen);
    if (e.key in steps) {
      i = Math.max(0, Math.min(this.items.length - 1, i < 0 ? 0 : i + steps[e.key]));
      this.chosen = this.key(this.items[i]);
      const top = this.virtual ? i * 31 : this.rows.get(this.chosen).tr.offsetTop - this.head.offsetHeight;
      if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
      const room = this.scroll.clientHeight - this.head.offsetHeight - 31;
      if (top > this.scroll.scrollTop + room) this.scroll.scrollTop = top - room;
      this.draw();
    } else if (e.key === 'Enter' && i >= 0 && this.open) this.open(this.items[i]);
    else return;
    e.preventDefault();
  }
}

const button = (b) => el('button', { type: 'button', class: 'small', title: b.title || null, onclick: b.act }, b.label);

const consumers = new Grid('consumers', [
  { title: 'Consumer', value: (c) => c.name },
  { title: 'State', kind: 'state', value: (c) => c.state },
  { title: 'Group', value: (c) => c.group, class: 'mono' },
  { title: 'Workers', kind: 'num', value: (c) => count(c.workers) },
  { title: 'Messages/s', kind: 'num', value: (c) => rate(c.sums.rate) },
  { title: 'Lag', kind: 'num', value: (c) => count(c.sums.lag) },
  { title: 'Processed', kind: 'num', value: (c) => count(c.totals.messages || 0) },
  { title: 'Failed calls', kind: 'num', value: (c) => count(c.totals.errors || 0) },
  { title: 'Skipped', kind: 'num', value: (c) => count(c.totals.skipped || 0) },
  { title: 'Dead letters', kind: 'num', value: (c) => count(c.totals.dead_letters || 0) },
  { title: 'Average call', kind: 'num', value: (c) => average(c.times) },
  { title: '', kind: 'actions', value: consumerActions },
], { key: (c) => c.name });

const workers = new Grid('workers', [
  { title: 'Worker', value: (w) => w.name, by: (w) => w.order },
  { title: 'State', kind: 'state', value: (w) => w.state, by: (w) => w.state },
  { title: 'PID', kind: 'num', value: (w) => w.pid ? String(w.pid) : '–', by: (w) => w.pid || 0 },
  { title: 'Up', kind: 'num', value: (w) => w.pid && w.started_at ? span(since(w.started_at)) : '–', by: (w) => since(w.started_at) },
  { title: 'Restarts', kind: 'num', value: (w) => count(w.restarts), by: (w) => w.restarts },
  { title: 'Partitions', kind: 'num', value: (w) => w.report ? count(w.sums.partitions) : '–', by: (w) => w.sums.partitions },
  { title: 'Calls', kind: 'num', value: parallelism, by: (w) => w.report ? w.report.in_hand || 0 : 0 },
  { title: 'Messages/s', kind: 'num', value: (w) => w.report ? rate(w.sums.rate) : '–', by: (w) => w.sums.rate },
  { title: 'Lag', kind: 'num', value: (w) => count(w.sums.lag), by: (w) => w.sums.lag },
  { title: 'Memory', kind: 'num', value: (w) => w.report ? bytes(w.report.rss) : '–', by: (w) => w.report ? w.report.rss : 0 },
  { title: 'CPU', kind: 'num', value: (w) => w.use === null ? '–' : Math.round(w.use * 100) + ' %', by: (w) => w.use || 0 },
  { title: 'Detail', value: (w) => [outages(w.outages), w.detail || (w.last_exit ? 'last exit: ' + w.last_exit : '')].filter(Boolean).join('; '), class: 'text' },
], { key: (w) => w.name, open: openWorker, empty: 'No workers' });

const partitions = new Grid('partitions', [
  { title: 'Partition', value: (p) => p.name, by: (p) => p.order },
  { title: 'Worker', value: (p) => p.worker, by: (p) => p.worker },
  { title: 'State', kind: 'state', value: (p) => p.shown, by: (p) => p.shown },
  { title: 'Position', kind: 'num', value: (p) => count(p.position), by: (p) => p.position },
  { title: 'Committed', kind: 'num', value: (p) => count(p.committed), by: (p) => p.committed },
  { title: 'End', kind: 'num', value: (p) => count(p.end), by: (p) => p.end },
  { title: 'Lag', kind: 'num', value: (p) => count(p.lag), by: (p) => p.lag },
  { title: 'Lag time', kind: 'num', value: (p) => p.lag < 0 ? '–' : span(p.lag_seconds), by: (p) => p.lag_seconds },
  { title: '5 min', kind: 'spark', value: (p) => known.lags.get(p.key) || [] },
  { title: 'Messages/s', kind: 'num', value: (p) => rate(p.rate), by: (p) => p.rate },
  { title: 'Failed', kind: 'num', value: (p) => count(p.errors), by: (p) => p.errors },
  { title: 'Why', value: why, class: 'text' },
], { open: openPartition, virtual: true, empty: 'No partitions', sort: 'Partition' });

const errors = new Grid('errors', [
  { title: 'At', value: (e) => clock(e.at) },
  { title: 'Worker', value: (e) => e.worker },
  { title: 'Message', value: (e) => e.topic ? e.topic + '/' + (e.partition || 0) + ' @ ' + count(e.offset || 0) : '' },
  { title: 'Error', kind: 'wrap', value: (e) => e.error },
], { empty: 'No errors' });

const config = new Grid('config', [
  { title: 'Consumer', value: (k) => k.consumer },
  { title: 'Key', value: (k) => k.key, class: 'mono' },
  { title: 'Value', kind: 'wrap', value: (k) => k.written, class: 'mono' },
  { title: 'From', value: (k) => k.source },
], { empty: 'Everything is at its default', key: (k) => k.consumer + ' ' + k.key });

// ---- descriptions ----

function average(t) {
  const calls = (t && t.counts || []).reduce((a, b) => a + b, 0);
  if (!calls) return '–';
  const ms = t.sum / calls * 1000;
  return ms < 1 ? (ms * 1000).toFixed(0) + ' µs' : ms < 1000 ? ms.toFixed(1) + ' ms' : (ms / 1000).toFixed(1) + ' s';
}

// parallelism is how many calls a worker has in hand, of how many it can have.
function parallelism(w) { return w.report && w.report.concurrency ? (w.report.in_hand || 0) + ' of ' + w.report.concurrency : '–'; }

const heldUp = (k) => 'offset ' + count(k.offset) + ', key ' + k.key + ', ' + plural(k.attempts, 'failure') + ' in ' + span(since(k.since));
const retried = (k) => k.until ? 'retried in ' + span(-since(k.until)) : 'retried now, or when resumed';

// keysWaiting says which message holds up a partition that is processed by key, or how many keys wait.
function keysWaiting(p) {
  const error = p.last_error ? ': ' + p.last_error : '';
  if (p.window_full) return heldUp(p.window_full) + error;
  const oldest = (p.oldest_waiting_keys || [])[0];
  return plural(p.waiting_keys, 'waiting key') + (oldest ? ', the oldest: ' + heldUp(oldest) : '') + error;
}

// keyLines lists the keys that wait.
function keyLines(p) {
  const keys = p.oldest_waiting_keys || [];
  if (!keys.length) return '';
  const lines = keys.map((k) => k.key + ': offset ' + count(k.offset) + ', ' + plural(k.attempts, 'failure') + ' in ' + span(since(k.since)) + ', ' + retried(k));
  if (p.waiting_keys > keys.length) lines.push('and ' + plural(p.waiting_keys - keys.length, 'more key'));
  return 'Waiting keys\n' + lines.join('\n');
}

function why(p) {
  if (p.shown === 'window full' || p.shown === 'running' && p.waiting_keys) return keysWaiting(p);
  if (p.shown === 'running') return p.retries ? plural(p.retries, 'failed attempt') : '';
  if (p.shown === 'stalled') return 'no progress despite lag';
  const parts = [];
  if (p.state === 'backoff') parts.push((p.until ? 'for ' + span(-since(p.until)) + ' ' : '') + 'after ' + plural(p.retries, 'failure') + ' at offset ' + count(p.position));
  if (p.reason || p.last_error) parts.push(p.reason || p.last_error);
  return parts.join(': ');
}

function outage(o) {
  const parts = [(o.dependency ? o.dependency + ' is ' : '') + 'unavailable for ' + span(since(o.since)), count(o.held) + ' held', plural(o.probes, 'probe')];
  if (o.prober) parts.push(o.prober + ' probes now');
  return parts.join(', ') + (o.error ? ': ' + o.error : '');
}
const outages = (list) => (list || []).map((d) => 'outage' + (d ? ' of ' + d : '')).join(', ');

function problems(st) {
  const list = [];
  for (const c of st.consumers) {
    if (c.reason) list.push(['bad', c.state, c.name, c.reason]);
    for (const o of c.outages || []) list.push(['warn', 'outage', c.name, outage(o)]);
  }
  if (st.log_problem) list.push(['warn', 'log', 'supervisor', st.log_problem]);
  for (const w of st.workers) {
    if (w.report && w.report.log_problem) list.push(['warn', 'log', w.name, w.report.log_problem]);
    if (w.state === 'running' && w.live) continue;
    if (['waiting', 'backoff', 'fatal'].includes(w.state)) list.push([tones[w.state], w.state, w.name, w.detail || w.last_exit || '']);
    else if (w.pid && !w.live && w.state !== 'starting' && w.state !== 'stopping') list.push(['bad', 'stuck', w.name, w.detail || 'a call takes longer than max_poll_interval']);
  }
  for (const p of st.partitions) if (p.shown === 'running' && p.waiting_keys) list.push(['warn', 'waiting keys', p.name, why(p)]);
  for (const p of st.partitions) if (p.shown !== 'running' && p.shown !== 'paused') list.push([tones[p.shown], p.shown, p.name, why(p)]);
  const rank = { bad: 0, warn: 1 };
  return list.sort((a, b) => rank[a[0]] - rank[b[0]]);
}

function add(sums, p) {
  sums.partitions++;
  sums.rate += p.rate;
  if (p.lag >= 0) sums.lag = Math.max(0, sums.lag) + p.lag;
}
const nothing = () => ({ partitions: 0, rate: 0, lag: -1 });

// prepare adds sums and lists to a status.
function prepare(st) {
  st.sums = nothing();
  st.partitions = [];
  st.problems = [];
  const by = new Map(st.consumers.map((c) => [c.name, c]));
  for (const c of st.consumers) { c.sums = nothing(); c.totals = c.totals || {}; c.quiet = false; }
  st.workers.forEach((w, i) => {
    w.name = workerName(w);
    w.order = i;
    w.sums = nothing();
    w.use = null;
    const c = by.get(w.consumer);
    if (c && w.state === 'quiet') c.quiet = true;
    if (!w.report) return;
    const now = Date.parse(w.report.at) / 1000, before = known.previous.get(w.name);
    if (before && before.pid === w.pid && now > before.at) w.use = (w.report.cpu_seconds - before.cpu) / (now - before.at);
    else if (before && before.pid === w.pid) w.use = before.use;
    known.previous.set(w.name, { pid: w.pid, cpu: w.report.cpu_seconds, at: now, use: w.use });
    for (const p of w.report.partitions || []) {
      p.name = p.topic + '/' + p.partition;
      p.worker = w.name;
      p.consumer = w.consumer;
      p.key = w.consumer + ' ' + p.name; // two consumers may read one topic
      p.shown = p.state !== 'running' ? p.state : p.window_full ? 'window full' : p.stalled ? 'stalled' : 'running';
      st.partitions.push(p);
      add(st.sums, p);
      add(w.sums, p);
      if (c) add(c.sums, p);
    }
    for (const e of w.report.problems || []) st.problems.push({ ...e, worker: w.name, key: w.name + e.at + e.error });
  });
  st.partitions.sort((a, b) => a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition);
  st.partitions.forEach((p, i) => { p.order = i; });
  st.problems.sort((a, b) => a.at < b.at ? 1 : -1);
  return st;
}

// ---- drawing ----

function draw() {
  const st = known.status;
  if (!st) return;
  text($('state'), st.state);
  tone($('state'), tones[st.state]);
  text($('about'), 'PID ' + st.pid + ', up ' + span(since(st.started_at)));
  document.title = (st.attention.length ? '(' + st.attention.length + ') ' : '') + 'racecar';
  $('unlock').hidden = !st.actions || token !== '';

  const t = st.totals || {};
  const running = st.workers.filter((w) => w.state === 'running').length;
  text($('f-rate'), rate(st.sums.rate));
  text($('f-lag'), count(st.sums.lag));
  text($('f-workers'), count(st.workers.length));
  text($('f-workers-more'), running === st.workers.length ? 'all running' : running + ' running');
  text($('f-partitions'), count(st.partitions.length));
  const stopped = st.partitions.filter((p) => p.shown !== 'running').length;
  text($('f-partitions-more'), stopped ? stopped + ' not running' : 'all running');
  text($('f-errors'), count(t.errors || 0));
  const calls = st.consumers.reduce((n, c) => n + ((c.times && c.times.counts) || []).reduce((a, b) => a + b, 0), 0);
  text($('f-errors-more'), 'of ' + count(calls) + ' calls');
  text($('f-dead'), count(t.dead_letters || 0));
  text($('f-dead-more'), t.dead_letters ? 'racecarctl dlq list' : '');
  const reasons = Object.entries(st.restarts_by_reason || {}).sort((a, b) => b[1] - a[1]);
  text($('f-restarts'), count(reasons.reduce((n, r) => n + r[1], 0)));
  text($('f-restarts-more'), reasons.map((r) => r[1] + ' ' + r[0]).join(', '));
  const rss = st.workers.reduce((n, w) => n + (w.report ? w.report.rss : 0), st.rss || 0);
  text($('f-memory'), bytes(rss));
  text($('f-memory-more'), 'supervisor: ' + bytes(st.rss));
  graph('g-rate', known.rate);
  graph('g-lag', known.lag);

  drawProblems(st);
  counted('consumers', st.consumers.length);
  counted('workers', st.workers.length);
  counted('errors', st.problems.length);
  consumers.show(st.consumers);
  workers.show(st.workers);
  drawPartitions();
  errors.show(st.problems.slice(0, 50));
}

function counted(id, n) { text($(id).querySelector('.count'), String(n)); }

function graph(id, values) {
  // As wide as there is something to show, up to five minutes.
  const now = Date.now() / 1000;
  const wide = Math.min(SAMPLES, Math.max(30, values.length ? now - values[0][0] : 0));
  const points = values.filter((v) => v[1] >= 0).map((v) => [1 - (now - v[0]) / wide, v[1]]);
  const g = $(id);
  g.setAttribute('viewBox', '0 0 600 52');
  line(g.querySelector('.line'), points, 600, 52);
  line(g.querySelector('.area'), points, 600, 52, true);
}

function drawProblems(st) {
  const section = $('problems');
  section.hidden = !st.attention.length;
  counted('problems', st.attention.length);
  const list = section.querySelector('ul');
  const shown = st.attention.slice(0, 100);
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) list.append(el('li', {}, el('span', { class: 'pill' }), el('b'), el('span')));
  shown.forEach((x, i) => {
    const [pill, name, reason] = list.children[i].children;
    text(pill, x[1]);
    tone(pill, x[0]);
    text(name, x[2]);
    text(reason, x[3]);
  });
}

function drawPartitions() {
  const st = known.status;
  if (!st) return;
  const words = $('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = st.partitions.filter((p) => {
    if ($('only').checked && p.shown === 'running') return false;
    const all = (p.name + ' ' + p.worker + ' ' + p.shown).toLowerCase();
    return words.every((w) => all.includes(w));
  });
  counted('partitions', shown.length === st.partitions.length ? shown.length : shown.length + ' of ' + st.partitions.length);
  partitions.empty = st.partitions.length ? 'No partition matches the filter' : 'No partitions assigned';
  partitions.show(shown);
}

// ---- details ----

function detail(title, pairs, pre, actions) {
  const d = $('d-detail');
  text($('t-detail'), title);
  d.querySelector('dl').replaceChildren(...pairs.filter((p) => p[1]).flatMap((p) => [el('dt', {}, p[0]), el('dd', {}, String(p[1]))]));
  const code = d.querySelector('pre');
  code.hidden = !pre;
  code.textContent = pre || '';
  d.querySelector('.actions').replaceChildren(...actions.map((b) => button({ ...b, act: () => { d.close(); b.act(); } })));
  if (!d.open) d.showModal();
}

function openWorker(w) {
  detail(w.name, [
    ['State', w.state + ' for ' + span(since(w.since))], ['Detail', w.detail], ['Outages', outages(w.outages)], ['PID', w.pid], ['Group', w.group], ['Calls in hand', parallelism(w)],
    ['Instance', (w.members || []).map((p) => p.instance_id).filter(Boolean).join(', ')],
    ['Member', (w.members || []).map((p) => p.member_id).filter(Boolean).join(', ')],
    ['Processed', count(w.processed)], ['Restarts', count(w.restarts)], ['Last exit', w.last_exit],
    ['Partitions', (w.report && w.report.partitions || []).map((p) => p.name).join(', ')],
  ], w.last_stderr, []);
}

function openPartition(p) {
  const actions = [];
  if (mayAct()) {
    if (p.state === 'running') actions.push({ label: 'Pause', act: () => act('pause', target(p), 'Pause ' + p.name + '?', 'The worker keeps the partition and processes nothing from it until it is resumed.') });
    if (p.state !== 'running' || p.waiting_keys) actions.push({ label: 'Resume', act: () => act('resume', target(p), 'Resume ' + p.name + '?', p.waiting_keys ? 'The failed messages of all its keys are retried at once.' : 'A failed message is retried at once.') });
  }
  detail(p.name, [
    ['Worker', p.worker], ['State', p.shown], ['Why', why(p)], ['Last error', p.last_error],
    ['Position', count(p.position)], ['Committed', count(p.committed)], ['End', count(p.end)], ['Lag', count(p.lag) + ' messages, ' + span(p.lag_seconds)],
    ['Processed', count(p.processed) + ' since it was assigned'], ['Failed', count(p.errors)], ['In flight', count(p.in_flight)],
    ['In hand', p.in_hand && count(p.in_hand)], ['Finished beyond', p.finished_beyond && count(p.finished_beyond) + ' messages'], ['Waiting', p.waiting_keys && plural(p.waiting_keys, 'key')],
  ], keyLines(p), actions);
}
const target = (p) => ({ consumer: p.consumer, topic: p.topic, partition: p.partition });

// ---- actions ----

const mayAct = () => known.status && known.status.actions && token !== '';

function consumerActions(c) {
  if (!mayAct()) return [];
  return [
    { label: 'Restart', act: () => act('restart', { consumer: c.name }, 'Restart ' + c.name + '?', 'Its workers are replaced one by one.') },
    { label: '−', title: 'Remove a worker', act: () => scale(c, -1) },
    { label: '+', title: 'Add a worker', act: () => scale(c, 1) },
    c.quiet ? { label: 'Continue', act: () => act('continue', { consumer: c.name }) }
      : { label: 'Quiet', act: () => act('quiet', { consumer: c.name }, 'Quiet ' + c.name + '?', 'Running calls finish, no new ones begin, and the workers stay members of the group.') },
  ];
}

function scale(shown, by) {
  const c = known.status.consumers.find((x) => x.name === shown.name); // the current one, which may differ from the one that the button was made for
  const n = Math.max(1, c.workers + by); // without workers it would not be running
  if (n !== c.workers) act('scale', { consumer: c.name, workers: n }, 'Scale ' + c.name + ' from ' + c.workers + ' to ' + plural(n, 'worker') + '?');
}

async function act(what, body, question, more) {
  if (question && !await ask(question, more)) return;
  const t = toast(what + ' …');
  try {
    const r = await fetch('v1/' + what, { method: 'POST', headers: headers(), body: JSON.stringify(body) });
    if (r.status === 401) { forget(); throw new Error('the token was not accepted'); }
    let last = {};
    await lines(r, (l) => { last = l; if (l.worker || l.message) text(t, what + ': ' + [l.worker, l.state, l.message].filter(Boolean).join(' ')); });
    if (last.error) throw new Error(last.error);
    text(t, what + ': done');
    poll();
  } catch (e) {
    t.classList.add('bad');
    text(t, what + ': ' + e.message);
  }
  setTimeout(() => t.remove(), 6000);
}

// lines reads a stream with one JSON value per line.
async function lines(response, each) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const complete = rest.split('\n');
    rest = done ? '' : complete.pop();
    for (const l of complete) if (l.trim()) each(JSON.parse(l));
    if (done) return;
  }
}

function ask(question, more) {
  const d = $('d-ask');
  text($('t-ask'), question);
  text($('ask-more'), more || '');
  return answer(d);
}

// answer opens a dialog and waits for it: true if it was submitted with ok. The close event
// may come late, when the dialog already asks something else, so it does not suffice.
const waiting = new Map(); // dialog → the function that ends its question
function answer(d) {
  waiting.get(d)?.(false);
  return new Promise((done) => {
    const over = new AbortController();
    const end = (yes) => { over.abort(); waiting.delete(d); done(yes); };
    waiting.set(d, end);
    d.addEventListener('submit', (e) => end(e.submitter !== null && e.submitter.value === 'ok'), { signal: over.signal });
    d.addEventListener('close', () => { if (!d.open) end(false); }, { signal: over.signal });
    d.showModal();
  });
}

function toast(s) {
  const t = el('div', { class: 'toast' }, s);
  $('toasts').append(t);
  return t;
}

// ---- requests ----

const headers = () => token ? { Authorization: 'Bearer ' + token } : {};

function forget() { token = ''; sessionStorage.removeItem('racecar-token'); }

async function askToken(why) {
  const d = $('d-token');
  if (d.open) return;
  text($('token-why'), why);
  $('token').value = '';
  if (!await answer(d) || !$('token').value) {
    $('unlock').hidden = false;
    if (known.status) poll();
    return;
  }
  token = $('token').value;
  sessionStorage.setItem('racecar-token', token);
  poll();
  if ($('config').querySelector('details').open) loadConfig();
}

async function get(path) {
  const r = await fetch(path, { headers: headers(), signal: AbortSignal.timeout(8000) });
  if (r.status === 401) {
    const had = token !== '';
    forget();
    askToken(had ? 'That token was not accepted.' : 'Enter the status_token to see this page. The browser keeps it until this tab is closed.');
    throw new Error('status_token is needed');
  }
  const body = await r.json();
  if (!r.ok) throw new Error(body.error || r.statusText);
  return body;
}

let timer = 0, asking = false, lostAt = 0;

async function poll() {
  clearTimeout(timer);
  if (asking) return;
  if (document.hidden) return; // visibilitychange continues
  asking = true;
  try {
    if (!known.lagsAt) await loadHistory();
    take(await get('v1/status'));
    lostAt = 0;
    $('lost').hidden = true;
  } catch (e) {
    lostAt = lostAt || Date.now();
    $('lost').hidden = $('d-token').open;
    text($('lost'), 'Not up to date since ' + clock(lostAt) + ': ' + (e instanceof TypeError ? 'no answer' : e.message));
    const locked = $('d-token').open;
    tone($('state'), locked ? '' : 'bad');
    text($('state'), locked ? 'token required' : 'no answer');
  }
  asking = false;
  if (!$('d-token').open) timer = setTimeout(poll, lostAt ? 2000 : 1000);
}

function take(raw) {
  const st = known.status = prepare(raw);
  st.attention = problems(st);
  const now = Date.now() / 1000;
  remember(known.rate, now, st.sums.rate);
  remember(known.lag, now, st.sums.lag);
  if (now - known.lagsAt >= 5) {
    known.lagsAt = now;
    const here = new Set();
    for (const p of st.partitions) {
      here.add(p.key);
      const l = known.lags.get(p.key) || [];
      l.push(p.lag);
      if (l.length > 60) l.shift();
      known.lags.set(p.key, l);
    }
    for (const key of known.lags.keys()) if (!here.has(key)) known.lags.delete(key);
  }
  draw();
}

function remember(list, at, value) {
  list.push([at, value]);
  while (list.length && list[0][0] < at - SAMPLES) list.shift();
}

async function loadHistory() {
  const h = await get('v1/history');
  const now = Date.now() / 1000;
  const series = (values) => values.map((v, i) => [now - (values.length - i) * h.every, v]).filter((p) => p[1] >= 0);
  known.rate = series(h.rate);
  known.lag = series(h.lag);
  for (const [key, values] of Object.entries(h.partitions || {})) known.lags.set(key, values.filter((v) => v >= 0));
  known.lagsAt = now - 5;
}

async function loadConfig() {
  try {
    const all = [];
    for (const c of await get('v1/config')) for (const k of c.keys) all.push({ consumer: c.consumer, ...k });
    config.all = all;
    drawConfig();
  } catch (e) { toast('configuration: ' + e.message).classList.add('bad'); }
}
function drawConfig() { if (config.all) config.show(config.all.filter((k) => !$('changed').checked || k.source !== 'default')); }

// ---- keys and events ----

function theme(next) {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  let choice = localStorage.getItem('racecar-theme') || (dark.matches ? 'dark' : 'light');
  if (next) { choice = choice === 'dark' ? 'light' : 'dark'; localStorage.setItem('racecar-theme', choice); }
  document.documentElement.classList.toggle('dark', choice === 'dark');
}
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => theme(false));

document.addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
  if (e.target.matches('input[type=search]')) {
    if (e.key === 'Escape') { e.target.value = ''; e.target.blur(); drawPartitions(); }
    if (e.key === 'Enter' || e.key === 'ArrowDown') { partitions.scroll.focus(); e.preventDefault(); }
    return;
  }
  if (e.target.matches('input')) return;
  const to = { c: consumers, w: workers, p: partitions, e: errors }[e.key];
  if (to) {
    to.section.scrollIntoView({ block: 'start' });
    window.scrollBy(0, -64); // the header stays in place
    to.scroll.focus({ preventScroll: true });
  } else if (e.key === '/') { $('filter').focus(); $('filter').scrollIntoView({ block: 'center' }); }
  else if (e.key === 't') theme(true);
  else if (e.key === '?') $('d-help').showModal();
  else return;
  e.preventDefault();
});

$('theme').addEventListener('click', () => theme(true));
$('help').addEventListener('click', () => $('d-help').showModal());
$('unlock').addEventListener('click', () => askToken('Restart, scale, pause, resume and quiet require the status_token. The browser keeps it until this tab is closed.'));
$('filter').addEventListener('input', drawPartitions);
$('only').addEventListener('change', drawPartitions);
$('changed').addEventListener('change', drawConfig);
$('config').querySelector('details').addEventListener('toggle', (e) => { if (e.target.open) loadConfig(); });
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
theme(false);
poll();
