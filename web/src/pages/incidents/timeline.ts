// One story out of alerts, changes and comments, oldest first.

import type { IncidentDetail, Severity } from '../../api/client';
import { protocolWord, severityWord } from '../../format/words';

export interface TimelineEvent {
  id: string;
  time: string;
  title: string;
  detail: string;
  /** Set for alerts, whose node shows it; other nodes show the icon. */
  severity: Severity | null;
  icon: string;
  /** A person did it, so it stands under Activity too. */
  person: boolean;
}

/** The server tells what changed to what; this says which property it was. */
const changes: Record<string, string> = { status: 'Status', severity: 'Severity', owner: 'Owner', title: 'Title', labels: 'Labels', classification: 'Classified:' };
const icons: Record<string, string> = { created: 'incident', opened: 'incident', status: 'incident', owner: 'user', comment: 'note', severity: 'alert', sync: 'sensor', closed: 'ok' };

export function timeline(incident: IncidentDetail): TimelineEvent[] {
  const events: TimelineEvent[] = [];
  for (const a of incident.alerts) {
    const ends = [a.source?.name || a.source?.address, a.destination?.name || a.destination?.address].filter((x) => x).join(' → ');
    events.push({ id: `alert ${a.systemAlertId}`, time: a.startTime, title: a.name, detail: [ends, protocolWord(a.protocol)].filter((x) => x !== '').join(', '), severity: a.severity, icon: 'alert', person: false });
    if (a.count > 1 && a.endTime !== a.startTime) {
      events.push({ id: `again ${a.systemAlertId}`, time: a.endTime, title: `Seen again, ${a.count}× by now`, detail: a.name, severity: null, icon: 'alert', person: false });
    }
  }
  // A comment is in both lists when the server logs it as activity; it is told once, with its words.
  const commented = incident.comments.length > 0;
  incident.activity.forEach((e, i) => {
    if (commented && e.kind === 'comment') return;
    const change = changes[e.kind];
    const title = change === undefined ? e.text : `${change} ${e.text}`.trim();
    const machine = e.kind === 'created' || e.kind === 'alert' || e.kind === 'sync';
    const by = e.actor === '' || machine || e.text.includes(e.actor) ? '' : `By ${e.actor}`;
    const opened = e.kind === 'created';
    events.push({ id: `activity ${i}`, time: e.time, title: opened ? 'Incident opened' : title, detail: opened ? e.text : by, severity: null, icon: icons[e.kind] ?? 'incident', person: e.kind !== 'alert' });
  });
  for (const c of incident.comments) {
    events.push({ id: `comment ${c.id}`, time: c.createdTime, title: `${c.author || 'Someone'} commented`, detail: c.message, severity: null, icon: 'note', person: true });
  }
  if (incident.activity.length === 0) {
    const by = incident.ruleNames.length > 0 ? `By “${incident.ruleNames.join('”, “')}”` : `Severity ${severityWord(incident.severity)}`;
    events.push({ id: 'opened', time: incident.createdTime, title: 'Incident opened', detail: by, severity: null, icon: 'incident', person: false });
  }
  return events.sort((a, b) => a.time.localeCompare(b.time) || a.id.localeCompare(b.id));
}
