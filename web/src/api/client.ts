// The typed client: one function per call of the server's own API.

import { shape, text } from './check';
import { order, request, search } from './http';
import * as t from './types';

const W = '/workspaces/default';
const F = '/fleet';

type Signal = AbortSignal | undefined;

const enc = encodeURIComponent;

export interface IncidentQuery {
  status?: string;
  severity?: string;
  engine?: string;
  owner?: string;
  q?: string;
  sort?: string;
  limit?: number;
  offset?: number;
}

export interface DeviceQuery {
  q?: string;
  type?: string;
  vendor?: string;
  protocol?: string;
  sensor?: string;
  ot?: string;
  sort?: string;
  limit?: number;
  offset?: number;
}

export interface AlertQuery {
  status?: string;
  severity?: string;
  engine?: string;
  q?: string;
  device?: string;
  limit?: number;
  offset?: number;
}

export const api = {
  session: (signal?: Signal) => request('/session', t.Session, { signal }),
  signOut: () => order('/session', { method: 'DELETE' }),

  summary: (signal?: Signal) => request(`${W}/summary`, t.Summary, { signal }),
  incidents: (q: IncidentQuery, signal?: Signal) => request(`${W}/incidents${search({ ...q })}`, t.IncidentPage, { signal }),
  incident: (number: number, signal?: Signal) => request(`${W}/incidents/${number}`, t.IncidentDetail, { signal }),
  changeIncident: (number: number, change: t.IncidentChange, etag = '') =>
    request(`${W}/incidents/${number}`, t.Incident, { method: 'PATCH', body: change, headers: etag ? { 'if-match': etag } : {} }),
  comment: (number: number, message: string) => order(`${W}/incidents/${number}/comments`, { method: 'POST', body: { message } }),

  schema: (signal?: Signal) => request(`${W}/schema`, t.Schema, { signal }),
  query: (query: string, timespan: string, maxRows: number, signal?: Signal) =>
    request(`${W}/query`, t.QueryResult, { method: 'POST', body: timespan ? { query, timespan, maxRows } : { query, maxRows }, signal }),
  check: (query: string, signal?: Signal) => request(`${W}/query/check`, t.CheckResult, { method: 'POST', body: { query }, signal }),

  connectors: (signal?: Signal) => request(`${W}/connectors`, t.ConnectorList, { signal }),
  connector: (id: string, signal?: Signal) => request(`${W}/connectors/${enc(id)}`, t.Connector, { signal }),
  connect: (id: string, subscription: string, connected: boolean) =>
    order(`${W}/connectors/${enc(id)}/subscriptions/${enc(subscription)}`, { method: 'PUT', body: { connected } }),
  createIncidents: (id: string, enabled: boolean) => order(`${W}/connectors/${enc(id)}/create-incidents`, { method: 'PUT', body: { enabled } }),

  rules: (signal?: Signal) => request(`${W}/rules`, t.RuleList, { signal }),
  enableRule: (id: string, enabled: boolean) => order(`${W}/rules/${enc(id)}`, { method: 'PATCH', body: { enabled } }),

  fleetSummary: (signal?: Signal) => request(`${F}/summary`, t.FleetSummary, { signal }),
  subscriptions: (signal?: Signal) => request(`${F}/subscriptions`, t.SubscriptionList, { signal }),
  setPlan: (id: string, planOn: boolean) => order(`${F}/subscriptions/${enc(id)}`, { method: 'PATCH', body: { planOn } }),
  sensors: (signal?: Signal) => request(`${F}/sensors`, t.SensorList, { signal }),
  setSensorMode: (id: string, mode: string) => order(`${F}/sensors/${enc(id)}`, { method: 'PATCH', body: { mode } }),
  addSensor: (name: string, zoneId: string) => request(`${F}/sensors`, t.NewSensor, { method: 'POST', body: { name, zoneId } }),
  sites: (signal?: Signal) => request(`${F}/sites`, t.SiteList, { signal }),
  zones: (signal?: Signal) => request(`${F}/zones`, t.ZoneList, { signal }),
  devices: (q: DeviceQuery, signal?: Signal) => request(`${F}/devices${search({ ...q })}`, t.DevicePage, { signal }),
  device: (id: string, signal?: Signal) => request(`${F}/devices/${enc(id)}`, t.DeviceDetail, { signal }),
  alerts: (q: AlertQuery, signal?: Signal) => request(`${F}/alerts${search({ ...q })}`, t.FleetAlertPage, { signal }),
  alert: (id: string, signal?: Signal) => request(`${F}/alerts/${enc(id)}`, t.FleetAlert, { signal }),
  commandAlert: (id: string, action: t.AlertAction) => order(`${F}/alerts/${enc(id)}/commands`, { method: 'POST', body: { action } }),
  pcapUrl: (alertId: string) => `/otus/v1/fleet/alerts/${enc(alertId)}/pcap`,
};

/** The data of one server-sent event. */
export const Change = shape({ id: text, change: text });
export type * from './types';
export { Problem, isAbort } from './http';
