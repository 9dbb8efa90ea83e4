// Changes to incidents, for the queue and the incident's page alike.

import { api, Problem, type Incident, type IncidentChange, type IncidentStatus, type Owner, type Severity } from '../../api/client';
import { attempt, toasts } from '../../components/toast.svelte';
import { plural } from '../../format/number';

/** Applies one change to several incidents. What went through is reported, with a way back where there is one. */
export async function changeAll(targets: readonly Incident[], change: IncidentChange, said: string, back?: (i: Incident) => IncidentChange): Promise<Incident[]> {
  const done: Incident[] = [];
  const before: Incident[] = [];
  let failure = '';
  for (const i of targets) {
    try {
      done.push(await api.changeIncident(i.number, change, i.etag));
      before.push(i);
    } catch (err) {
      if (err instanceof Problem && err.status === 412) failure = `#${i.number} was changed by someone else meanwhile; look at it again`;
      else failure = err instanceof Error ? err.message : String(err);
    }
  }
  const what = targets.length === 1 ? `Incident #${targets[0]?.number}` : plural(done.length, 'incident');
  if (done.length > 0) {
    const undo = back ? () => void attempt(() => Promise.all(before.map((i) => api.changeIncident(i.number, back(i)))), `${what}: undone`) : null;
    toasts.say(`${what}: ${said}`, undo);
  }
  if (failure !== '') toasts.complain(`${plural(targets.length - done.length, 'change')} refused: ${failure}`);
  return done;
}

export const setStatus = (targets: readonly Incident[], status: IncidentStatus): Promise<Incident[]> =>
  changeAll(targets, { status }, status, (i) => (i.status === 'Closed' ? { status: 'Active' } : { status: i.status }));

export const setSeverity = (targets: readonly Incident[], severity: Severity): Promise<Incident[]> =>
  changeAll(targets, { severity }, `severity ${severity}`, (i) => ({ severity: i.severity }));

export const setOwner = (targets: readonly Incident[], owner: Owner | null): Promise<Incident[]> =>
  changeAll(targets, { owner }, owner ? `owner ${owner.name}` : 'owner none', (i) => ({ owner: i.owner }));
