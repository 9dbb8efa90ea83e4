// The server's answers as the browser reads them. One declaration is both check and type.

import { anything, count, dict, flag, id, isRecord, list, maybe, part, shape, text, word, type Check, type Infer } from './check';

export const severities = ['High', 'Medium', 'Low', 'Informational'] as const;
export type Severity = (typeof severities)[number];
export const incidentStatuses = ['New', 'Active', 'Closed'] as const;
export type IncidentStatus = (typeof incidentStatuses)[number];
export const classifications = ['TruePositive', 'BenignPositive', 'FalsePositive', 'Undetermined'] as const;
export type Classification = (typeof classifications)[number];

const severity = word(severities, 'Informational');
const bySeverity = part({ High: count, Medium: count, Low: count, Informational: count });

export const User = shape({ name: text, email: text, roles: list(text) });
export const Session = shape({ user: User, workspace: part({ id: text, name: text }), version: text });
export type Session = Infer<typeof Session>;

const Owner = shape({ name: text, email: text });
export type Owner = Infer<typeof Owner>;

/** A person by name; the server sends the whole record. */
const personName: Check<string> = (v, path) => {
  if (typeof v === 'string') return v;
  const person = part({ name: text, email: text })(v, path);
  return person.name || person.email;
};

const Endpoint = shape({ name: text, address: text, deviceId: text, port: count });
export type Endpoint = Infer<typeof Endpoint>;

const Explanation = part({ meaning: text, impact: text, safe: list(text), avoid: list(text), ask: text });
export type Explanation = Infer<typeof Explanation>;

const Detail = shape({ name: text, value: text });
export type Detail = Infer<typeof Detail>;

const incidentFields = {
  id: text,
  number: count,
  title: text,
  description: text,
  severity,
  status: word(incidentStatuses, 'New'),
  classification: text,
  classificationReason: text,
  classificationComment: text,
  owner: maybe(Owner),
  labels: list(text),
  createdTime: text,
  lastModifiedTime: text,
  firstActivityTime: text,
  lastActivityTime: text,
  closedTime: text,
  alertsCount: count,
  commentsCount: count,
  tactics: list(text),
  techniques: list(text),
  engine: text,
  protocol: text,
  sensor: text,
  site: text,
  zone: text,
  sourceDevice: text,
  destinationDevice: text,
  ruleNames: list(text),
  etag: text,
};
export const Incident = shape(incidentFields);
export type Incident = Infer<typeof Incident>;

const facets = dict(dict(count));
export type Facets = Record<string, Record<string, number>>;
export const IncidentPage = shape({ items: list(Incident), total: count, facets });
export type IncidentPage = Infer<typeof IncidentPage>;

const AlertDevice = shape({
  deviceId: text,
  name: text,
  type: text,
  vendor: text,
  model: text,
  firmwareVersion: text,
  ipAddress: text,
  macAddress: text,
  protocols: list(text),
  site: text,
  zone: text,
  sensor: text,
  purdueLevel: text,
  importance: text,
});
export type AlertDevice = Infer<typeof AlertDevice>;

/** An alert as the workspace knows it, within its incident. */
export const IncidentAlert = shape({
  systemAlertId: text,
  vendorOriginalId: text,
  name: text,
  severity,
  status: text,
  engine: text,
  category: text,
  protocol: text,
  description: text,
  startTime: text,
  endTime: text,
  timeGenerated: text,
  providerName: text,
  revision: count,
  count,
  tactics: list(text),
  techniques: list(text),
  remediationSteps: list(text),
  source: maybe(Endpoint),
  destination: maybe(Endpoint),
  devices: list(AlertDevice),
  explanation: Explanation,
  details: list(Detail),
  frame: count,
  line: maybe(shape({ name: text, owners: list(text) })),
  pcapUrl: maybe(text),
  learnable: maybe(flag),
});
export type IncidentAlert = Infer<typeof IncidentAlert>;

export const IncidentDetail = shape({
  ...incidentFields,
  alerts: list(IncidentAlert),
  activity: list(shape({ time: text, actor: text, kind: text, text })),
  comments: list(shape({ id: text, author: personName, message: text, createdTime: text })),
  sync: list(shape({ alertId: text, sensor: text, alertStatus: text, wanted: text, state: word(['inStep', 'waiting', 'failed'], 'waiting'), detail: text, since: text })),
});
export type IncidentDetail = Infer<typeof IncidentDetail>;

export interface IncidentChange {
  status?: IncidentStatus;
  severity?: Severity;
  owner?: Owner | null;
  title?: string;
  labels?: string[];
  classification?: Classification;
  classificationReason?: string;
  classificationComment?: string;
  closeAction?: 'close' | 'learn' | 'mute';
}

const Prerequisite = shape({ id: text, title: text, met: flag, detail: text });
const ConnectorSubscription = shape({ id, name: text, planOn: flag, connected: flag, state: text, lastReceived: maybe(text), rows: count, warning: text });
export type ConnectorSubscription = Infer<typeof ConnectorSubscription>;

export const Connector = shape({
  id,
  title: text,
  description: text,
  dataTypes: list(text),
  state: word(['connected', 'disconnected', 'warning'], 'disconnected'),
  prerequisites: list(Prerequisite),
  subscriptions: list(ConnectorSubscription),
  createIncidents: flag,
  sampleQueries: list(shape({ title: text, query: text })),
  duplicates: text,
});
export type Connector = Infer<typeof Connector>;
export const ConnectorList = shape({ items: list(Connector) });

export const Summary = shape({
  incidents: part({ open: count, new: count, active: count, closed: count, bySeverity }),
  meanTimeToTriageSeconds: maybe(count),
  meanTimeToCloseSeconds: maybe(count),
  recent: list(Incident),
  series: list(shape({ start: text, high: count, medium: count, low: count, informational: count })),
  rows: dict(count),
  connector: maybe(Connector),
});
export type Summary = Infer<typeof Summary>;

const Column = shape({ name: id, type: text });
const SchemaColumn = shape({ name: id, type: text, description: text });
const SchemaTable = shape({ name: id, description: text, solutions: list(text), columns: list(SchemaColumn) });
export type SchemaTable = Infer<typeof SchemaTable>;
export const Schema = shape({
  tables: list(SchemaTable),
  functions: list(shape({ name: id, kind: text, signature: text, description: text })),
  operators: list(shape({ name: id, description: text })),
});
export type Schema = Infer<typeof Schema>;

export const Diagnostic = shape({ code: text, message: text, line: count, column: count, start: count, end: count, hint: text, severity: text });
export type Diagnostic = Infer<typeof Diagnostic>;
export const CheckResult = shape({ diagnostics: list(Diagnostic) });

export interface Visualization {
  kind: string;
  title: string;
  xColumn: string;
  yColumns: string[];
  series: string[];
}

/** The render operator: its kind, and its properties by the language's names, either beside the kind or apart. */
export const Visualization: Check<Visualization> = (v, path) => {
  const { kind } = shape({ kind: text })(v, path);
  const all = isRecord(v) ? { ...v, ...(isRecord(v['properties']) ? v['properties'] : {}) } : {};
  const of = new Map(Object.entries(all).map(([name, value]) => [name.toLowerCase(), value]));
  const one = (name: string): string => {
    const value = of.get(name);
    return typeof value === 'string' ? value : '';
  };
  const many = (name: string): string[] => {
    const value = of.get(name);
    if (Array.isArray(value)) return value.filter((s): s is string => typeof s === 'string');
    return typeof value === 'string' && value !== '' ? value.split(',').map((s) => s.trim()) : [];
  };
  return { kind, title: one('title'), xColumn: one('xcolumn'), yColumns: many('ycolumns'), series: many('series') };
};
export const QueryResult = shape({
  columns: list(Column),
  rows: list(list(anything)),
  truncated: flag,
  statistics: part({ elapsedMs: count, rows: count }),
  visualization: maybe(Visualization),
});
export type QueryResult = Infer<typeof QueryResult>;

export const Rule = shape({
  id,
  kind: text,
  name: text,
  description: text,
  severity: text,
  enabled: flag,
  query: text,
  queryFrequency: text,
  queryPeriod: text,
  tactics: list(text),
  techniques: list(text),
  source: text,
  lastRun: maybe(text),
  lastResult: text,
  lastError: text,
});
export type Rule = Infer<typeof Rule>;
export const RuleList = shape({ items: list(Rule) });

export const FleetSummary = shape({
  devices: count,
  otDevices: count,
  sensors: part({ total: count, healthy: count, warning: count, critical: count }),
  alerts: part({ open: count, bySeverity: dict(count), byEngine: dict(count) }),
  unseen: part({ oneSidedStreams: count, lostBytes: count, undecodedBytes: count, duplicates: count, dropped: count }),
});
export type FleetSummary = Infer<typeof FleetSummary>;

const deviceFields = {
  id,
  name: text,
  ipAddresses: list(text),
  macAddresses: list(text),
  vlans: list(count),
  vendor: text,
  type: text,
  model: text,
  firmwareVersion: text,
  serialNumber: text,
  operatingSystem: text,
  protocols: list(text),
  purdueLevel: text,
  firstSeen: text,
  lastSeen: text,
  authorized: flag,
  programming: flag,
  scanner: flag,
  ot: flag,
  sensorId: text,
  importance: text,
  revision: count,
  site: text,
  zone: text,
  sensorName: text,
  line: text,
  openAlerts: count,
};
export const Device = shape(deviceFields);
export type Device = Infer<typeof Device>;
export const DevicePage = shape({ items: list(Device), total: count, facets });
export type DevicePage = Infer<typeof DevicePage>;

const FleetEndpoint = shape({ deviceId: text, name: text, address: text, port: count });

/** An alert as the fleet knows it: the plant's side. */
export const FleetAlert = shape({
  id,
  revision: count,
  type: text,
  title: text,
  engine: text,
  severity,
  category: text,
  protocol: text,
  tactics: list(text),
  techniques: list(text),
  learnable: flag,
  status: word(['New', 'Active', 'Closed'], 'New'),
  muted: flag,
  learned: flag,
  firstDetection: text,
  lastDetection: text,
  lastActivity: text,
  count,
  sensorId: text,
  sensorName: text,
  source: maybe(FleetEndpoint),
  destination: maybe(FleetEndpoint),
  devices: list(part({ id: text, name: text, type: text, vendor: text, ipAddresses: list(text) })),
  description: text,
  explanation: Explanation,
  details: list(Detail),
  frame: count,
  hasCapture: flag,
  site: text,
  zone: text,
});
export type FleetAlert = Infer<typeof FleetAlert>;
export const FleetAlertPage = shape({ items: list(FleetAlert), total: count, facets });
export type FleetAlertPage = Infer<typeof FleetAlertPage>;
export type AlertAction = 'close' | 'learn' | 'mute' | 'unmute' | 'setNew' | 'setActive';

export const DeviceDetail = shape({
  ...deviceFields,
  alerts: list(FleetAlert),
});
export type DeviceDetail = Infer<typeof DeviceDetail>;

const Health = part({
  time: text,
  version: text,
  reason: text,
  frames: count,
  bytes: count,
  dropped: count,
  malformed: count,
  duplicates: count,
  lostBytes: count,
  undecodedBytes: count,
  devices: count,
  openAlerts: count,
  oneSidedStreams: count,
  spooledRecords: count,
  pluginFailures: count,
});
export const Sensor = shape({ id, name: text, site: text, zone: text, version: text, mode: text, modeWanted: text, state: text, reason: text, lastSeen: maybe(text), health: Health });
export type Sensor = Infer<typeof Sensor>;
export const SensorList = shape({ items: list(Sensor) });
export const NewSensor = shape({ id: text, onboardingToken: id });
export const Site = shape({ id, name: text, owners: list(text) });
export type Site = Infer<typeof Site>;
export const SiteList = shape({ items: list(Site) });
export const Zone = shape({ id, siteId: text, name: text });
export type Zone = Infer<typeof Zone>;
export const ZoneList = shape({ items: list(Zone) });
export const Subscription = shape({ id, name: text, planOn: flag });
export type Subscription = Infer<typeof Subscription>;
export const SubscriptionList = shape({ items: list(Subscription) });
