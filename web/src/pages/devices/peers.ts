// Connections of one device, read from the rows of a query over OTConnection.

import type { QueryResult } from '../../api/client';

export const mostPeers = 100;

export interface Peer {
  key: string;
  peerId: string;
  peerAddress: string;
  role: 'client' | 'server';
  protocol: string;
  port: number;
  bytes: number;
  messages: number;
  lastSeen: string;
}

export function peersOf(result: QueryResult, id: string): Peer[] {
  const at = new Map(result.columns.map((c, i) => [c.name, i]));
  return result.rows.map((row, n): Peer => {
    const text = (name: string): string => {
      const value = row[at.get(name) ?? -1];
      return value === null || value === undefined ? '' : String(value);
    };
    const number = (name: string): number => Number(text(name)) || 0;
    const client = text('ClientDeviceId') === id;
    return {
      key: String(n),
      peerId: text(client ? 'ServerDeviceId' : 'ClientDeviceId'),
      peerAddress: text(client ? 'ServerIpAddress' : 'ClientIpAddress'),
      role: client ? 'client' : 'server',
      protocol: text('Protocol'),
      port: number('ServerPort'),
      bytes: number('Bytes'),
      messages: number('Messages'),
      lastSeen: text('LastSeen'),
    };
  });
}
