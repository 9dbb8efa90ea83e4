// A small stand-in for the program's HTTP API, for working on the pages and for the browser tests. In memory,
// loopback only. It stops by itself when nobody has asked for ten minutes.
//
//   node test/mock-server.mjs [port]      then open the sign-in link that it prints

import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { plant, schema } from './plant.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const dist = process.env.OTUS_DIST ?? join(here, '..', 'dist'); // another build can be tested while dist is in use
const pages = JSON.parse(readFileSync(join(here, '..', 'pages.json'), 'utf8')).map((p) => p.path);
// Read from the Go side, so that what is tested is what is served.
const policy = /const Policy = "([^"]+)"/.exec(readFileSync(join(here, '..', 'web.go'), 'utf8'))[1];
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.json': 'application/json' };
const idleMilliseconds = 600_000;

/** Starts on a free loopback port, or the one given. */
export async function start({ port = 0, now = Date.now(), empty = false, delay = 0 } = {}) {
  const state = plant(now);
  if (empty) Object.assign(state, { incidents: [], devices: [], alerts: [], sensors: [], series: state.series.map((b) => ({ ...b, high: 0, medium: 0, low: 0, informational: 0 })) });
  const streams = new Set();
  const code = 'once';
  let idle;
  const emit = (event, data) => { for (const s of streams) s.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`); };

  const server = createServer((req, res) => {
    clearTimeout(idle);
    idle = setTimeout(() => close(), idleMilliseconds);
    idle.unref();
    handle(req, res).catch((err) => { if (!res.headersSent) problem(res, 500, 'Internal error', String(err)); });
  });

  async function handle(req, res) {
    const url = new URL(req.url, 'http://127.0.0.1');
    if (!url.pathname.startsWith('/otus/v1/')) return serve(url.pathname, res);
    const path = url.pathname.slice('/otus/v1/'.length).split('/').map(decodeURIComponent);
    if (path[0] === 'signin') {
      if (url.searchParams.get('code') !== code) return problem(res, 401, 'Unauthorized', 'The code is unknown or was used.');
      res.writeHead(302, { 'set-cookie': 'otus_session=mock; HttpOnly; SameSite=Strict; Path=/', location: '/' });
      return res.end();
    }
    if (!/otus_session=mock/.test(req.headers.cookie ?? '')) return problem(res, 401, 'Unauthorized', 'Sign in first.');
    if (req.method !== 'GET' && req.headers['x-otus-csrf'] !== '1') return problem(res, 403, 'Forbidden', 'The X-Otus-CSRF header is missing.');
    let body = {};
    if (req.method !== 'GET') {
      const chunks = [];
      for await (const c of req) chunks.push(c);
      const text = Buffer.concat(chunks).toString();
      body = text === '' ? {} : JSON.parse(text);
    }
    if (delay > 0) await new Promise((r) => setTimeout(r, delay));
    return api(req, res, path, url.searchParams, body);
  }

  function api(req, res, path, query, body) {
    const m = req.method;
    switch (path[0]) {
      case 'session':
        if (m === 'DELETE') { res.writeHead(204, { 'set-cookie': 'otus_session=; Max-Age=0; Path=/' }); return res.end(); }
        return json(res, { user: { name: 'Maren Okafor', email: 'maren@harrow-vale.example', roles: ['Contributor'] }, workspace: { id: 'w', name: 'default' }, version: '0.0.0' });
      case 'events':
        res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
        res.write(': hello\n\n');
        streams.add(res);
        req.on('close', () => streams.delete(res));
        return undefined;
      case 'workspaces': return workspace(m, res, path.slice(2), query, body, req);
      case 'fleet': return fleet(m, res, path.slice(1), query, body);
      default: return problem(res, 404, 'Not found', 'There is no such path.');
    }
  }

  function workspace(m, res, path, query, body, req) {
    if (path[0] === 'summary') return json(res, summary());
    if (path[0] === 'schema') return json(res, schema);
    if (path[0] === 'query') return path[1] === 'check' ? json(res, { diagnostics: faults(body.query) }) : runQuery(res, body);
    if (path[0] === 'connectors') return connectors(m, res, path, body);
    if (path[0] === 'rules') {
      const rule = state.rules.find((r) => r.id === path[1]);
      if (m === 'PATCH' && rule) { rule.enabled = body.enabled; return json(res, rule); }
      return json(res, { items: state.rules });
    }
    if (path[0] !== 'incidents') return problem(res, 404, 'Not found', '');
    if (path.length === 1) return json(res, queue(query));
    const incident = state.incidents.find((i) => i.number === Number(path[1]));
    if (!incident) return problem(res, 404, 'Not found', `incident ${path[1]} does not exist`);
    if (path[2] === 'comments') {
      const comment = { id: `c${incident.comments.length + 2}`, author: { name: 'Maren Okafor', email: 'maren@harrow-vale.example' }, message: body.message, createdTime: new Date().toISOString() };
      incident.comments.push(comment);
      emit('incident', { id: incident.id, change: 'updated' });
      return json(res, comment, 201);
    }
    if (m === 'PATCH') {
      if (req.headers['if-match'] && req.headers['if-match'] !== incident.etag) return problem(res, 412, 'Precondition failed', 'Someone changed the incident meanwhile.');
      if (body.status === 'Closed' && !body.classification) return problem(res, 400, 'Bad request', 'closing needs a classification');
      if (body.status && body.status !== incident.status) incident.activity.push({ time: new Date().toISOString(), actor: 'Maren Okafor', kind: 'status', text: `${incident.status} → ${body.status}` });
      Object.assign(incident, body, { lastModifiedTime: new Date().toISOString(), etag: `"${Number(incident.etag.slice(1, -1)) + 1}"` });
      for (const s of incident.sync) Object.assign(s, { wanted: incident.status, alertStatus: incident.status });
      emit('incident', { id: incident.id, change: 'updated' });
      return json(res, strip(incident));
    }
    return json(res, { ...incident, commentsCount: incident.comments.length });
  }

  function queue(query) {
    const set = (name) => (query.get(name) ? query.get(name).split(',') : null);
    const ownerOf = (i) => i.owner?.name ?? 'Unassigned';
    const tests = {
      status: (i, v) => v.includes(i.status), severity: (i, v) => v.includes(i.severity), engine: (i, v) => v.includes(i.engine), owner: (i, v) => v.includes(ownerOf(i)),
      q: (i, v) => `${i.title} ${i.sourceDevice} ${i.destinationDevice} ${i.number}`.toLowerCase().includes(v.join(',').toLowerCase()),
    };
    const matches = (i, except) => Object.entries(tests).every(([name, test]) => { const v = set(name); return name === except || !v || test(i, v); });
    const facet = (name, of) => { const out = {}; for (const i of state.incidents) if (matches(i, name)) out[of(i)] = (out[of(i)] ?? 0) + 1; return out; };
    const sort = query.get('sort') ?? '-createdTime';
    const key = sort.replace(/^-/, '');
    const rank = { High: 3, Medium: 2, Low: 1, Informational: 0 };
    const value = (i) => (key === 'severity' ? rank[i.severity] : key === 'owner' ? ownerOf(i) : i[key]);
    const found = state.incidents.filter((i) => matches(i)).sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (sort.startsWith('-') ? -1 : 1));
    const offset = Number(query.get('offset') ?? 0);
    return { items: found.slice(offset, offset + Number(query.get('limit') ?? 50)).map(strip), total: found.length, facets: { status: facet('status', (i) => i.status), severity: facet('severity', (i) => i.severity), engine: facet('engine', (i) => i.engine), owner: facet('owner', ownerOf) } };
  }

  function summary() {
    const open = state.incidents.filter((i) => i.status !== 'Closed');
    const by = (list, f) => list.reduce((o, i) => ({ ...o, [f(i)]: (o[f(i)] ?? 0) + 1 }), {});
    const s = by(state.incidents, (i) => i.status);
    return { incidents: { open: open.length, new: s.New ?? 0, active: s.Active ?? 0, closed: s.Closed ?? 0, bySeverity: by(open, (i) => i.severity) }, meanTimeToTriageSeconds: empty ? null : 242, meanTimeToCloseSeconds: empty ? null : 3120, recent: state.incidents.slice(0, 8).map(strip), series: state.series, rows: empty ? {} : { SecurityAlert: 318, SecurityIncident: 96, OTDevice: 57, OTConnection: 184_206, OTProtocolEvent: 42_118, OTSensorHealth: 4320 }, connector: connector() };
  }

  function connector() {
    const off = state.subscriptions.some((s) => state.connected.has(s.id) && !s.planOn);
    return {
      id: 'iot', title: 'Otus for IoT and OT', description: 'Streams the alerts of the OT sensors of each connected subscription into SecurityAlert, and devices, connections and protocol events into the OT tables.', dataTypes: ['SecurityAlert (Azure Security Center for IoT)', 'OTDevice', 'OTConnection', 'OTProtocolEvent'],
      state: state.connected.size === 0 ? 'disconnected' : off ? 'warning' : 'connected',
      prerequisites: [{ id: 'workspace', title: 'Read and write on the workspace', met: true, detail: 'Sentinel Contributor' }, { id: 'subscription', title: 'Contributor or Owner on the subscription', met: true, detail: 'Owner of 2 of 2' }, { id: 'plan', title: 'Defender for IoT plan is on', met: state.subscriptions.every((s) => s.planOn), detail: state.subscriptions.every((s) => s.planOn) ? '' : 'Off for Eastgate reservoir' }, { id: 'data', title: 'Data is arriving', met: !empty, detail: empty ? 'Nothing yet' : 'Last row 7 min ago' }],
      subscriptions: state.subscriptions.map((s) => ({ ...s, connected: state.connected.has(s.id), state: state.connected.has(s.id) ? 'connected' : 'disconnected', lastReceived: state.connected.has(s.id) && !empty ? new Date(now - 420_000).toISOString() : null, rows: state.connected.has(s.id) && !empty ? 226_795 : 0, warning: s.planOn ? '' : 'The plan of this subscription is off: its sensors send no alerts.' })),
      createIncidents: state.createIncidents,
      sampleQueries: [{ title: 'All OT alerts', query: 'SecurityAlert\n| where ProductName == "Azure Security Center for IoT"' }, { title: 'High alerts', query: 'SecurityAlert\n| where ProductName == "Azure Security Center for IoT"\n| where AlertSeverity == "High"' }, { title: 'Messages per 30 minutes, by device', query: 'OTProtocolEvent\n| summarize Writes = count() by bin(TimeGenerated, 30m), ClientIpAddress\n| render timechart' }],
      duplicates: '',
    };
  }

  function connectors(m, res, path, body) {
    if (path.length === 1) return json(res, { items: [connector()] });
    if (path[1] !== 'iot') return problem(res, 404, 'Not found', '');
    if (m === 'PUT') {
      if (path[2] === 'create-incidents') { state.createIncidents = body.enabled; state.rules[0].enabled = body.enabled; }
      else if (body.connected) state.connected.add(path[3]);
      else state.connected.delete(path[3]);
      emit('connector', { id: 'iot', change: 'updated' });
    }
    return json(res, connector());
  }

  function fleet(m, res, path, query, body) {
    const open = state.alerts.filter((a) => a.status !== 'Closed');
    const by = (list, f) => list.reduce((o, i) => ({ ...o, [f(i)]: (o[f(i)] ?? 0) + 1 }), {});
    switch (path[0]) {
      case 'summary': return json(res, { devices: state.devices.length, otDevices: state.devices.filter((d) => d.ot).length, sensors: { total: state.sensors.length, healthy: state.sensors.filter((s) => s.state === 'Healthy').length, warning: state.sensors.filter((s) => s.state === 'Warning').length, critical: 0 }, alerts: { open: open.length, bySeverity: by(open, (a) => a.severity), byEngine: by(open, (a) => a.engine) }, unseen: empty ? {} : { oneSidedStreams: 6, lostBytes: 18_220, undecodedBytes: 4_118_902, duplicates: 88_120, dropped: 214 } });
      case 'sensors':
        if (m === 'PATCH') { Object.assign(state.sensors.find((s) => s.id === path[1]), body); return json(res, {}); }
        if (m === 'POST') { state.sensors.push({ id: `s${state.sensors.length}`, name: body.name, state: '', mode: '', site: '', zone: '', health: {} }); return json(res, { id: 's', onboardingToken: 'mock-token-1234' }); }
        return json(res, { items: state.sensors });
      case 'sites': return json(res, { items: state.sites });
      case 'zones': return json(res, { items: state.zones });
      case 'subscriptions':
        if (m === 'PATCH') { Object.assign(state.subscriptions.find((s) => s.id === path[1]), body); emit('connector', { id: 'iot', change: 'updated' }); return json(res, {}); }
        return json(res, { items: state.subscriptions });
      case 'devices': {
        if (path[1]) {
          const d = state.devices.find((x) => x.id === path[1]);
          return d ? json(res, { ...d, alerts: state.alerts.filter((a) => a.source?.deviceId === d.id || a.destination?.deviceId === d.id) }) : problem(res, 404, 'Not found', 'no such device');
        }
        const q = (query.get('q') ?? '').toLowerCase();
        const is = (name, of) => (d) => !query.get(name) || query.get(name).split(',').some((v) => of(d).includes(v));
        const found = state.devices.filter((d) => `${d.name} ${d.ipAddresses} ${d.vendor} ${d.model}`.toLowerCase().includes(q)).filter(is('type', (d) => [d.type])).filter(is('vendor', (d) => [d.vendor])).filter(is('protocol', (d) => d.protocols)).filter((d) => !query.get('ot') || String(d.ot) === query.get('ot'));
        const sort = query.get('sort') ?? 'name';
        const key = sort.replace(/^-/, '');
        const value = (d) => (key === 'ipAddress' ? d.ipAddresses[0] : d[key]);
        found.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (sort.startsWith('-') ? -1 : 1));
        return json(res, { items: found, total: found.length, facets: { type: by(state.devices, (d) => d.type), vendor: by(state.devices, (d) => d.vendor), protocol: by(state.devices.flatMap((d) => d.protocols), (p) => p) } });
      }
      case 'alerts': {
        const a = state.alerts.find((x) => x.id === path[1]);
        if (path[2] === 'pcap') { res.writeHead(200, { 'content-type': 'application/vnd.tcpdump.pcap', 'content-disposition': `attachment; filename="${path[1]}.pcap"` }); return res.end(Buffer.from('4d3cb2a1020004000000000000000000ffff000001000000', 'hex')); }
        if (path[2] === 'commands') { a.status = body.action === 'setActive' ? 'Active' : 'Closed'; a.muted = body.action === 'mute'; a.learned = body.action === 'learn'; emit('alert', { id: a.id, change: 'updated' }); res.writeHead(202); return res.end(); }
        if (path[1]) return a ? json(res, a) : problem(res, 404, 'Not found', 'no such alert');
        const q = (query.get('q') ?? '').toLowerCase();
        const is = (name) => (x) => !query.get(name) || query.get(name).split(',').includes(x[name]);
        const device = query.get('device');
        const base = state.alerts.filter((x) => !device || x.source?.deviceId === device || x.destination?.deviceId === device).filter((x) => `${x.title} ${x.source?.name} ${x.source?.address} ${x.destination?.name} ${x.destination?.address}`.toLowerCase().includes(q));
        const found = base.filter(is('status')).filter(is('severity')).filter(is('engine'));
        return json(res, { items: found, total: found.length, facets: { status: by(base, (x) => x.status), severity: by(base.filter(is('status')), (x) => x.severity), engine: by(base.filter(is('status')), (x) => x.engine) } });
      }
      default: return problem(res, 404, 'Not found', '');
    }
  }

  /** Knows just enough of KQL to mark a stray word and an unknown table. */
  function faults(text) {
    const out = [];
    const lines = text.split('\n');
    const at = (line) => lines.slice(0, line).reduce((n, l) => n + Buffer.byteLength(l) + 1, 0);
    lines.forEach((l, i) => {
      const stray = /^\s*(Instead)\b|\b(Instead)\s*$/.exec(l);
      if (stray) { const column = l.indexOf('Instead'); out.push({ code: 'KQL1001', message: 'unexpected word "Instead"', line: i + 1, column: column + 1, start: at(i) + column, end: at(i) + column + 7, hint: 'A pipe must come before the next operator.', severity: 'error' }); }
    });
    const first = lines.findIndex((l) => l.trim() !== '' && !l.trim().startsWith('//'));
    const name = /^\s*([A-Za-z_]\w*)/.exec(lines[first] ?? '')?.[1] ?? '';
    if (name !== '' && !['let', 'union', 'search', 'print'].includes(name) && !schema.tables.some((t) => t.name === name)) out.push({ code: 'KQL2001', message: `unknown table "${name}"`, line: first + 1, column: 1, start: at(first), end: at(first) + name.length, hint: 'Did you mean SecurityAlert?', severity: 'error' });
    return out;
  }

  function runQuery(res, body) {
    const errors = faults(body.query);
    if (errors.length > 0) return problem(res, 400, 'Bad query', errors[0].message, errors);
    const table = schema.tables.find((t) => new RegExp(`\\b${t.name}\\b`).test(body.query)) ?? schema.tables[0];
    if (/render\s+(timechart|columnchart|barchart)/.test(body.query)) {
      const kind = /render\s+(\w+)/.exec(body.query)[1];
      const rows = [];
      for (let i = 0; i < 48; i++) for (const [n, name] of ['10.20.20.11', '10.20.20.12', '10.20.20.41'].entries()) {
        const value = name === '10.20.20.41' ? (i === 46 ? 44 : 0) : Math.round(10 + 6 * Math.sin(i / 5 + n));
        rows.push([new Date(now - (47 - i) * 1_800_000).toISOString(), name, value]);
      }
      return json(res, { columns: [{ name: 'TimeGenerated', type: 'datetime' }, { name: 'ClientIpAddress', type: 'string' }, { name: 'Writes', type: 'long' }], rows: kind === 'timechart' ? rows : rows.slice(-3), truncated: false, statistics: { elapsedMs: 31, rows: rows.length }, visualization: { kind, title: '' } });
    }
    const peer = /^OTConnection\n\| where ClientDeviceId == "([^"]+)"/.exec(body.query);
    if (peer) {
      const own = state.devices.find((d) => d.id === peer[1]);
      const rows = state.devices.filter((x) => own && x !== own && x.protocols.some((p) => own.protocols.includes(p))).slice(0, 6).map((x) => [own.id, own.ipAddresses[0], x.id, x.ipAddresses[0], 502, x.protocols.find((p) => own.protocols.includes(p)), 1_204_118, 8211, x.lastSeen]);
      return json(res, { columns: ['ClientDeviceId:string', 'ClientIpAddress:string', 'ServerDeviceId:string', 'ServerIpAddress:string', 'ServerPort:int', 'Protocol:string', 'Bytes:long', 'Messages:long', 'LastSeen:datetime'].map((c) => ({ name: c.split(':')[0], type: c.split(':')[1] })), rows, truncated: false, statistics: { elapsedMs: 4, rows: rows.length }, visualization: null });
    }
    const count = Math.min(body.maxRows ?? 10_000, /take\s+(\d+)/.test(body.query) ? Number(/take\s+(\d+)/.exec(body.query)[1]) : 2500);
    const columns = table.columns.map(({ name, type }) => ({ name, type }));
    const rows = Array.from({ length: empty ? 0 : count }, (_, i) => {
      const a = state.alerts[i % state.alerts.length];
      const values = { TimeGenerated: new Date(now - i * 61_000).toISOString(), AlertName: a.title, DisplayName: a.title, Title: a.title, AlertSeverity: a.severity, Severity: a.severity, ProductName: 'Azure Security Center for IoT', ProductComponentName: a.engine, ProviderName: 'IoTSecurity', Status: 'New', SystemAlertId: a.id, VendorOriginalId: a.id, ExtendedProperties: JSON.stringify({ isNew: 'True', SensorId: a.sensorName, Protocol: a.protocol, Revision: a.revision, Explanation: a.explanation }), Entities: JSON.stringify([{ $id: '1', Type: 'iotdevice', DeviceName: a.source.name, IpAddress: { $id: '2', Address: a.source.address } }]), StartTime: a.firstDetection, EndTime: a.lastDetection, ProcessingEndTime: a.firstDetection, IncidentNumber: 2417 - i, AlertIds: [a.id], Protocol: a.protocol, Protocols: [a.protocol], ClientIpAddress: a.source.address, ServerIpAddress: a.destination.address, DeviceName: a.source.name, Vendor: 'Siemens', Operation: 'write', FunctionCode: 16, Value: '8.50', Messages: 60 + i, SensorName: a.sensorName, Dropped: 0, Tactics: a.tactics.join(',') };
      return columns.map((c) => values[c.name] ?? null);
    });
    return json(res, { columns, rows, truncated: count === body.maxRows, statistics: { elapsedMs: 18, rows: rows.length }, visualization: null });
  }

  function serve(pathname, res) {
    const head = { 'content-security-policy': policy, 'x-content-type-options': 'nosniff', 'referrer-policy': 'same-origin' };
    const name = normalize(pathname).replace(/^\/+/, '');
    const file = join(dist, name);
    if (name !== '' && extname(name) !== '' && file.startsWith(dist) && existsSync(file)) {
      res.writeHead(200, { ...head, 'content-type': types[extname(name)] ?? 'application/octet-stream' });
      return createReadStream(file).pipe(res);
    }
    if (!pages.includes(name.split('/')[0])) { res.writeHead(404, head); return res.end('not found'); }
    res.writeHead(200, { ...head, 'content-type': types['.html'] });
    return createReadStream(join(dist, 'index.html')).pipe(res);
  }

  function close() {
    for (const s of streams) s.end();
    return new Promise((done) => { server.close(done); server.closeAllConnections(); });
  }

  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${server.address().port}`;
  return {
    origin, signin: `${origin}/otus/v1/signin?code=${code}`, state, emit, close,
    /** Opens one more incident, as the analytics would. */
    open(title) {
      const model = state.incidents[0];
      const number = Math.max(...state.incidents.map((i) => i.number)) + 1;
      const incident = { ...model, id: `new-${number}`, number, title, status: 'New', owner: null, createdTime: new Date().toISOString(), etag: '"1"', activity: [], comments: [] };
      state.incidents.unshift(incident);
      emit('incident', { id: incident.id, change: 'created' });
      return incident;
    },
  };
}

const strip = ({ alerts: _alerts, activity: _activity, comments: _comments, sync: _sync, ...rest }) => rest;

function json(res, value, status = 200) {
  res.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  res.end(JSON.stringify(value));
}

function problem(res, status, title, detail, errors) {
  res.writeHead(status, { 'content-type': 'application/problem+json' });
  res.end(JSON.stringify({ type: 'about:blank', title, status, detail, errors }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const server = await start({ port: Number(process.argv[2] ?? 8080) });
  console.log(`Sign in: ${server.signin}`);
}
