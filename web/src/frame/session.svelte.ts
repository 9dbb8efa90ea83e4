// Who is signed in. Everything else waits for this answer.

import { api, Problem, type Session } from '../api/client';
import { onSignedOut } from '../api/http';
import { live } from '../api/live.svelte';
import { forget } from '../api/resource.svelte';

const retryMilliseconds = 2000;

class Who {
  state = $state<'asking' | 'in' | 'out' | 'unreachable'>('asking');
  session = $state.raw<Session | null>(null);

  async ask(): Promise<void> {
    try {
      this.session = await api.session();
      this.state = 'in';
      live.start();
    } catch (err) {
      if (err instanceof Problem && err.status === 401) return;
      this.state = 'unreachable';
      setTimeout(() => void this.ask(), retryMilliseconds);
    }
  }

  async signOut(): Promise<void> {
    await api.signOut();
    this.leave();
  }

  leave(): void {
    live.stop();
    forget();
    this.session = null;
    this.state = 'out';
  }

  /** The owner record of the person at the keyboard. */
  get me(): { name: string; email: string } {
    const user = this.session?.user;
    return { name: user?.name || user?.email || 'Me', email: user?.email ?? '' };
  }
}

export const who = new Who();
onSignedOut(() => who.leave());
