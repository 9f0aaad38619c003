import { NS, type RawClient } from '../../support/client.js';
import type { TestServer } from '../../support/server.js';

const ATTEMPTS = 50;

/** Which worker has the session: its number stands first in the identifier that resumes it. The session is not resumable after a second. */
export async function workerOf(client: RawClient): Promise<string> {
  client.send(`<enable xmlns='${NS.sm}' resume='true' max='1'/>`);
  const enabled = await client.expect({ name: 'enabled', ns: NS.sm });
  return enabled.attr('id')!.split('.')[0]!;
}

/** Logs each user in until no two of them are at the same worker; there must be workers enough. */
export async function apart(server: TestServer, ...users: string[]): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  const taken = new Set<string>();
  for (let attempt = 0; clients.length < users.length; attempt++) {
    if (attempt === ATTEMPTS) throw new Error(`all connections went to workers ${[...taken].join()}`);
    const client = await server.client(users[clients.length]!);
    const worker = await workerOf(client);
    if (taken.has(worker)) {
      await client.close();
      continue;
    }
    taken.add(worker);
    clients.push(client);
  }
  return clients;
}
