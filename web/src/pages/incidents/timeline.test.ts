import { expect, it } from 'vitest';
import { IncidentDetail } from '../../api/types';
import { timeline } from './timeline';

it('tells one story, oldest first, each thing once', () => {
  const incident = IncidentDetail(
    {
      number: 1, createdTime: '2026-01-01T00:00:02Z', severity: 'High',
      alerts: [{ systemAlertId: 'a', name: 'PLC stop', severity: 'High', protocol: 'DNP3', startTime: '2026-01-01T00:00:01Z', endTime: '2026-01-01T00:05:00Z', count: 3, source: { name: 'EWS', address: '10.0.0.1' }, destination: { name: '', address: '10.0.0.2' } }],
      activity: [
        { time: '2026-01-01T00:00:02Z', actor: 'Rule', kind: 'created', text: 'Opened by the rule "Rule".' },
        { time: '2026-01-01T00:01:00Z', actor: 'Ann', kind: 'status', text: 'New → Active' },
        { time: '2026-01-01T00:02:00Z', actor: 'Ann', kind: 'comment', text: 'called' },
      ],
      comments: [{ id: 'c', author: { name: 'Ann' }, message: 'called', createdTime: '2026-01-01T00:02:00Z' }],
    },
    '',
  );
  expect(timeline(incident).map((e) => `${e.title} | ${e.detail}`)).toEqual([
    'PLC stop | EWS → 10.0.0.2, DNP3',
    'Incident opened | Opened by the rule "Rule".',
    'Status New → Active | By Ann',
    'Ann commented | called',
    'Seen again, 3× by now | PLC stop',
  ]);
});

it('says that the incident was opened when nobody logged it', () => {
  const events = timeline(IncidentDetail({ number: 1, createdTime: '2026-01-01T00:00:02Z', ruleNames: ['R'] }, ''));
  expect(events.map((e) => [e.title, e.detail])).toEqual([['Incident opened', 'By “R”']]);
});
