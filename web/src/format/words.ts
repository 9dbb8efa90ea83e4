// Words of the field as the page shows them. Codes on the left come from the server.

import type { Severity } from '../api/client';

export type SeverityClass = 'high' | 'medium' | 'low' | 'info';

export function severityClass(s: string): SeverityClass {
  if (s === 'High') return 'high';
  if (s === 'Medium') return 'medium';
  if (s === 'Low') return 'low';
  return 'info';
}

export function severityWord(s: Severity | string): string {
  return s === 'Informational' ? 'Info' : s;
}

export interface EngineWord {
  css: 'protocol' | 'policy' | 'malware' | 'anomaly' | 'operational' | 'other';
  name: string;
  icon: string;
}

const engines: Record<string, EngineWord> = {
  PROTOCOL_VIOLATION: { css: 'protocol', name: 'Protocol violation', icon: 'frame' },
  POLICY_VIOLATION: { css: 'policy', name: 'Policy violation', icon: 'lock' },
  MALWARE: { css: 'malware', name: 'Malware', icon: 'bug' },
  ANOMALY: { css: 'anomaly', name: 'Anomaly', icon: 'wave' },
  OPERATIONAL: { css: 'operational', name: 'Operational', icon: 'gear' },
};

export function engineWord(code: string): EngineWord {
  return engines[code.toUpperCase().replaceAll(' ', '_')] ?? { css: 'other', name: spaced(code), icon: 'rule' };
}

/** "ImpairProcessControl" reads "Impair process control". */
export function spaced(code: string): string {
  const words = code.replace(/([a-z0-9])([A-Z])/g, '$1 $2').replaceAll('_', ' ').trim();
  return words === '' ? '' : words[0]?.toUpperCase() + words.slice(1).toLowerCase();
}

export const classificationWords: Record<string, string> = {
  TruePositive: 'True positive',
  BenignPositive: 'Benign positive',
  FalsePositive: 'False positive',
  Undetermined: 'Undetermined',
};

export const reasonWords: Record<string, string> = {
  SuspiciousActivity: 'suspicious activity',
  SuspiciousButExpected: 'suspicious but expected',
  IncorrectAlertLogic: 'incorrect alert logic',
  InaccurateData: 'inaccurate data',
};

/** The level box before a device's name. */
export function purdue(level: string): { code: string; name: string } | null {
  switch (level) {
    case 'Process Control':
      return { code: 'L1', name: 'Purdue level 1, process control' };
    case 'Supervisory':
      return { code: 'L2', name: 'Purdue level 2, supervisory' };
    case 'Enterprise':
      return { code: 'L4', name: 'Purdue level 4, enterprise' };
    case '':
      return null;
    default:
      return { code: level.slice(0, 4), name: level };
  }
}

/** The icon of a device type. */
export function deviceIcon(type: string): string {
  const t = type.toLowerCase();
  if (/plc|controller|rtu|ied|dcs|i\/o|backplane/.test(t)) return 'plc';
  if (/historian|server|database|domain/.test(t)) return 'server';
  if (/switch|router|firewall|gateway|access point|network|multicast|broadcast/.test(t)) return 'network';
  if (/hmi|station|workstation|computer|laptop|engineering/.test(t)) return 'pc';
  return 'device';
}

export function initials(name: string): string {
  const words = name.split(/[\s.@_-]+/).filter((w) => w !== '');
  return ((words[0]?.[0] ?? '?') + (words[1]?.[0] ?? '')).toUpperCase();
}

export function statusClass(status: string): 'new' | 'active' | 'closed' {
  const s = status.toLowerCase();
  if (s === 'new') return 'new';
  if (s === 'active' || s === 'inprogress') return 'active';
  return 'closed';
}

/** A protocol's name where there is one; GENERIC says that none applies. */
export function protocolWord(protocol: string): string {
  return protocol === 'GENERIC' ? '' : protocol;
}

/** "do not scan back" under the heading "Do not" reads "Scan back". */
export function underDoNot(point: string): string {
  const rest = point.replace(/^(do not|don't|never) /i, '');
  return (rest[0]?.toUpperCase() ?? '') + rest.slice(1);
}

/** Product words for the same three states: InProgress is Active on the page. */
export function statusWord(status: string): string {
  return status === 'InProgress' ? 'Active' : status;
}
