// SPDX-License-Identifier: Apache-2.0
// The dashboard: /api/events told as a page. What it shows comes from others, so it goes into the page as text only.
'use strict';

const KEPT = 500; // requests in the list; the oldest go first
const SECONDS = 120; // of the graphs
const SAMPLES = 256; // latencies kept of one second
const TAIL = 10; // characters of a long text that always show
const SHAPE_HEIGHT = 40; // of the graphs' viewBox

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat('en');
const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

function element(tag, name, ...inside) {
	const e = document.createElement(tag);
	if (name) e.className = name;
	e.append(...inside.filter((i) => i !== null && i !== undefined)); // texts become text nodes
	return e;
}

/** Text that gives way in its middle where there is no room for it. */
function cut(text, name = '') {
	const all = [...text];
	const e = element('span', `cut ${name}`, element('span', '', all.slice(0, -TAIL).join('')), element('span', '', all.slice(-TAIL).join('')));
	if (all.length <= TAIL) e.firstChild.remove();
	e.title = text;
	return e;
}

function say(text) {
	$('said').textContent = text;
}

/* --- Who intercepts what ---------------------------------------------------------------------------------- */

let state = { intercepts: [], previews: [] };

function phase(i) {
	if (i.phase === 'Failed') return ['bad', 'Failed'];
	if (i.phase && i.phase !== 'Active') return ['wait', i.phase];
	return i.online ? ['good', 'Active'] : ['wait', 'Laptop away'];
}

function mine(i) {
	return Boolean((i.user && i.user === state.user) || (i.login && i.login === state.login));
}

/** Only what a browser may open as a preview: a name of somebody else never becomes a script. */
function safe(url) {
	return typeof url === 'string' && /^https:\/\//.test(url) ? url : '';
}

async function copy(button, url) {
	try {
		await navigator.clipboard.writeText(url);
		button.textContent = 'Copied';
		say('Preview link copied');
	} catch {
		button.textContent = 'Not copied';
		say('The browser did not let the link be copied');
	}
	setTimeout(() => { button.textContent = 'Copy'; }, 1600);
}

function preview(i) {
	const url = safe((state.previews.find((p) => p.uid === i.uid) || i).url);
	if (!url) return null;
	const link = element('a', '', cut(url.replace(/^https:\/\//, '').replace(/\/$/, ''), 'mono'));
	link.href = url;
	link.target = '_blank';
	link.rel = 'noreferrer';
	const button = element('button', '', 'Copy');
	button.type = 'button';
	button.setAttribute('aria-label', `Copy the preview link of ${i.name}`);
	button.addEventListener('click', () => copy(button, url));
	return element('div', 'preview', link, button);
}

function ports(i) {
	const names = (i.ports || []).map((p) => (typeof p === 'object' ? p.name || p.port : p));
	return names.length ? `:${names.join(',')}` : '';
}

function intercept(i) {
	const [colour, word] = phase(i);
	const count = i.mechanism === 'http' ? i.requests : i.connections;
	const owner = i.user || i.login || 'unknown';
	const p = element('span', 'phase', element('span', 'dot'), word);
	p.dataset.state = colour;
	return element('li', i.phase === 'Failed' ? 'failed' : '',
		element('div', 'name', element('h3', '', cut(i.name)), element('span', 'where', cut(`${i.namespace}/${i.workload}${ports(i)}`))),
		element('div', 'how', element('span', 'match', i.mechanism === 'http' ? i.match : 'every connection (tcp)'), preview(i)),
		element('div', 'who', cut(owner), mine(i) ? element('span', 'you', 'you') : null),
		p,
		element('div', 'requests', number.format(count || 0), element('small', '', i.mechanism === 'http' ? 'requests' : 'connections')),
		i.message && i.phase !== 'Active' ? element('div', 'message', i.message) : null);
}

/** Rows that say the same stay as they are, so that neither focus nor selection is lost when a counter moves. */
function showIntercepts() {
	const list = $('intercepts');
	const focus = document.activeElement; // moving it loses it
	const old = new Map([...list.children].map((row) => [row.dataset.uid, row]));
	const rows = state.intercepts.map((i) => {
		const text = JSON.stringify([i, mine(i), state.previews.find((p) => p.uid === i.uid)]);
		const before = old.get(i.uid);
		if (before && before.told === text) return before;
		const row = intercept(i);
		row.dataset.uid = i.uid;
		row.told = text;
		if (before && before.contains(focus)) {
			// Same row, other figures: what is being used is kept.
			const [held, fresh] = [before.querySelector('.preview'), row.querySelector('.preview')];
			if (held && fresh && held.textContent === fresh.textContent) fresh.replaceWith(held);
		}
		return row;
	});
	if (rows.some((row, n) => row !== list.children[n]) || rows.length !== list.children.length) list.replaceChildren(...rows);
	if (focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
	list.hidden = !rows.length;
	$('no-intercepts').hidden = rows.length > 0;
	$('intercepts-count').textContent = rows.length ? number.format(rows.length) : '';
}

function takeState(told) {
	state = { ...told, intercepts: told.intercepts || [], previews: told.previews || [] };
	$('user').textContent = state.user || state.login || '';
	$('user').title = $('user').textContent;
	showIntercepts();
	showLink(told.manager && !told.manager.connected ? 'manager' : 'live');
}

/* --- The list of requests --------------------------------------------------------------------------------- */

let requests = []; // newest first
let waiting = []; // came while the list was paused
let paused = false;
let lost = 0; // not told: more than the list can show
let elsewhere = 0; // of others' intercepts
let scheduled = false;
const newest = new Map(); // agent -> when its newest request was
let before = new Map(); // the same when the connection was made: agents tell their last ones again then

function picked(name) {
	return document.querySelector(`input[name=${name}]:checked`).value;
}

function filter() {
	const words = $('text').value.toLowerCase().split(/\s+/).filter(Boolean);
	const [status, by] = [picked('status'), picked('by')];
	const any = Boolean(words.length || status || by);
	const shows = (r) => (!status || String(r.status)[0] === status) && (!by || r.by === by) && words.every((w) => r.text.includes(w));
	return { any, shows };
}

function row(r, fresh) {
	const path = element('td', 'path', r.path);
	path.title = r.path;
	const name = element('td', 'name', r.name || '–');
	name.title = r.name || 'no intercept took it';
	return element('tr', fresh ? 'new' : '',
		element('td', 'time', clock.format(r.t)), element('td', 'method', r.method), path,
		element('td', `status s${String(r.status)[0]}`, r.status ? String(r.status) : '–'),
		element('td', 'ms', number.format(r.ms)), element('td', r.by === 'laptop' ? 'by laptop' : 'by', r.by), name);
}

/** `fresh`: how many of the newest were not there before. Without it the list is made anew. */
function showRequests(fresh) {
	const { any, shows } = filter();
	const rows = $('rows');
	const list = requests.filter(shows);
	if (fresh === undefined) {
		rows.replaceChildren(...list.map((r) => row(r, false)));
	} else {
		rows.prepend(...requests.slice(0, fresh).filter(shows).map((r) => row(r, true)));
		while (rows.children.length > list.length) rows.lastElementChild.remove();
	}
	$('no-rows').hidden = list.length > 0;
	$('no-rows-text').textContent = requests.length ? `None of ${number.format(requests.length)} requests matches.` : 'Waiting for the first request…';
	$('reset').hidden = !requests.length;
	$('requests-count').textContent = any && requests.length ? `${number.format(list.length)} of ${number.format(requests.length)}` : requests.length ? number.format(requests.length) : '';
	showFoot();
}

function showFoot() {
	const parts = [];
	if (requests.length === KEPT) parts.push(`The newest ${KEPT} are kept.`);
	if (lost) parts.push(`${number.format(lost)} more came too fast to be listed.`);
	if (elsewhere) parts.push(`${number.format(elsewhere)} went to others’ intercepts.`);
	$('foot').textContent = parts.join(' ');
	$('pause').textContent = !paused ? 'Pause' : waiting.length ? `Resume (${number.format(waiting.length)}${waiting.length === KEPT ? '+' : ''} new)` : 'Resume';
}

function known(r) {
	const one = {
		t: Number(r.t) || 0, method: String(r.method || ''), path: String(r.path || ''), status: Number(r.status) || 0, ms: Math.round(Number(r.ms) || 0),
		by: r.by === 'laptop' ? 'laptop' : 'pod', name: String(r.name || ''),
	};
	one.text = `${one.method} ${one.path} ${one.status} ${one.name}`.toLowerCase();
	return one;
}

function takeRequests(told) {
	const unheard = (told.requests || []).filter((r) => !(r.t <= before.get(r.agent)));
	for (const r of unheard) newest.set(r.agent, Math.max(r.t, newest.get(r.agent) || 0));
	const news = unheard.map(known).reverse().sort((a, b) => b.t - a.t); // of the same millisecond the later first
	lost += told.dropped || 0;
	for (const n of Object.values(told.others || {})) elsewhere += n;
	for (const r of news) count(r);
	waiting = [...news, ...waiting].slice(0, KEPT);
	if (scheduled) return;
	scheduled = true; // once a frame, however many are told
	requestAnimationFrame(() => {
		scheduled = false;
		if (paused) showFoot();
		else release();
	});
}

function release() {
	const fresh = waiting.length;
	requests = [...waiting, ...requests].slice(0, KEPT);
	waiting = [];
	showRequests(fresh);
}

function pause() {
	paused = !paused;
	$('pause').setAttribute('aria-pressed', String(paused));
	if (paused) showFoot();
	else release();
}

function clear() {
	requests = [];
	waiting = [];
	lost = elsewhere = 0;
	showRequests();
}

function reset() {
	$('text').value = '';
	for (const all of document.querySelectorAll('.choice input[value=""]')) all.checked = true;
	showRequests();
	$('text').focus();
}

/* --- The graphs ------------------------------------------------------------------------------------------- */

const seconds = new Map(); // second since 1970 -> {laptop, pod, ms: [...]}
let began = Date.now();

/** A pod's clock may differ from ours: what comes live belongs to now. What is told of before we looked keeps its time. */
function count(r) {
	const now = Date.now();
	const age = now - r.t;
	const at = Math.floor((age < 0 || (age > 3000 && now - began > 3000) ? now : r.t) / 1000);
	if (at <= now / 1000 - SECONDS) return;
	const s = seconds.get(at) || { laptop: 0, pod: 0, ms: [] };
	seconds.set(at, s);
	s[r.by]++;
	if (s.ms.length < SAMPLES) s.ms.push(r.ms);
}

function quantile(sorted, q) {
	return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}

/** The next round number. */
function ceiling(v, least) {
	const want = Math.max(v, least);
	const power = 10 ** Math.floor(Math.log10(want));
	return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((m) => m * power >= want) * power;
}

function bars(values, top, from) {
	let d = '';
	values.forEach((v, x) => {
		if (!v) return;
		const base = SHAPE_HEIGHT - (SHAPE_HEIGHT * (from ? from[x] : 0)) / top;
		const high = Math.max((SHAPE_HEIGHT * v) / top, 0.6);
		d += `M${x + 0.1} ${base.toFixed(2)}v${(-high).toFixed(2)}h.8v${high.toFixed(2)}z`;
	});
	return d;
}

function milliseconds(v) {
	return v < 1000 ? `${Math.round(v)} ms` : `${(v / 1000).toFixed(v < 10000 ? 1 : 0).replace(/\.0$/, '')} s`;
}

function draw() {
	const last = Math.floor(Date.now() / 1000) - 1; // a second that is over
	for (const at of seconds.keys()) if (at <= last - SECONDS) seconds.delete(at);
	const none = { laptop: 0, pod: 0, ms: [] };
	const shown = Array.from({ length: SECONDS }, (_, x) => seconds.get(last - SECONDS + 1 + x) || none);
	const sorted = shown.map((s) => [...s.ms].sort((a, b) => a - b));
	const [laptop, pod] = [shown.map((s) => s.laptop), shown.map((s) => s.pod)];
	const most = ceiling(Math.max(...laptop.map((n, x) => n + pod[x])), 5);
	$('rate-laptop').setAttribute('d', bars(laptop, most));
	$('rate-pod').setAttribute('d', bars(pod, most, laptop));
	$('rate-top').textContent = number.format(most);
	const rate = laptop.slice(-10).reduce((sum, n, x) => sum + n + pod[SECONDS - 10 + x], 0) / 10;
	$('rate').firstChild.data = rate < 10 ? rate.toFixed(1).replace(/\.0$/, '') : number.format(Math.round(rate));
	$('rate-graph').setAttribute('aria-label', `Requests of the last two minutes, now ${$('rate').textContent}`);

	const p50 = sorted.map((s) => (s.length ? Math.max(quantile(s, 0.5), 1) : 0));
	const p95 = sorted.map((s) => (s.length ? Math.max(quantile(s, 0.95), 1) : 0));
	// By decades: a stream of minutes beside answers of milliseconds leaves both to be seen.
	const decades = Math.max(2, Math.ceil(Math.log10(Math.max(...p95, 1))));
	const slowest = 10 ** decades;
	const high = (v) => (v ? Math.log10(Math.max(v, 1.3)) : 0);
	$('latency-grid').setAttribute('d', Array.from({ length: decades }, (_, n) => `M0 ${((SHAPE_HEIGHT * n) / decades + 0.5).toFixed(1)}H120`).join(''));
	$('latency-p50').setAttribute('d', bars(p50.map(high), decades));
	$('latency-p95').setAttribute('d', bars(p95.map((v, x) => high(v) - high(p50[x])), decades, p50.map(high)));
	$('latency-top').textContent = milliseconds(slowest);
	const all = sorted.flat().sort((a, b) => a - b);
	const now = $('latency');
	if (all.length) now.replaceChildren(milliseconds(quantile(all, 0.5)), element('small', '', `p95 ${milliseconds(quantile(all, 0.95))}`));
	else now.textContent = '–';
	$('latency-graph').setAttribute('aria-label', all.length ? `Latency of the last two minutes: half within ${milliseconds(quantile(all, 0.5))}, 95 of 100 within ${milliseconds(quantile(all, 0.95))}` : 'Latency: no requests in the last two minutes');
}

/* --- The connection --------------------------------------------------------------------------------------- */

const LINKS = {
	live: ['good', 'Live'],
	manager: ['wait', 'Manager away', 'The gateway has lost the manager: what you see may be old. It tries again by itself.'],
	wait: ['wait', 'Reconnecting…'],
	ended: ['bad', 'Logged out', 'Your login has ended. '],
};

function showLink(which) {
	const [colour, text, notice] = LINKS[which];
	$('link').dataset.state = colour;
	if ($('link-text').textContent !== text) $('link-text').textContent = text; // said once, not at each try
	$('notice').hidden = !notice;
	$('notice').textContent = notice || '';
	if (which === 'ended') {
		const again = element('a', '', 'Log in again');
		again.href = '/';
		$('notice').append(again);
	}
}

let pausing = 1000; // until the next try; doubled up to 30 s

async function again() {
	let answer = null;
	try {
		answer = await fetch('/api/state', { headers: { accept: 'application/json' }, redirect: 'manual' });
	} catch {
		// No gateway: the next try finds it, or does not.
	}
	if (answer && [401, 403].includes(answer.status)) {
		showLink('ended');
		return;
	}
	setTimeout(listen, pausing);
	pausing = Math.min(pausing * 2, 30000);
}

function listen() {
	const events = new EventSource('/api/events');
	events.addEventListener('open', () => {
		began = Date.now();
		before = new Map(newest);
		pausing = 1000;
		showLink('live');
	});
	events.addEventListener('state', (e) => takeState(JSON.parse(e.data)));
	events.addEventListener('requests', (e) => takeRequests(JSON.parse(e.data)));
	events.addEventListener('error', () => {
		// The browser's own tries would never tell us that the login has ended.
		events.close();
		showLink('wait');
		again();
	});
}

$('pause').addEventListener('click', pause);
$('clear').addEventListener('click', clear);
$('reset').addEventListener('click', reset);
$('text').addEventListener('input', () => showRequests());
for (const choice of document.querySelectorAll('.choice input')) choice.addEventListener('change', () => showRequests());
setInterval(() => { if (!document.hidden) draw(); }, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) draw(); });
showRequests();
draw();
listen();
