import { createClient, type Agent } from 'stanza';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PASSWORD } from '../support/client.js';
import { startServer, type TestServer } from '../support/server.js';
import { NODE, VALUES } from './story.js';

let server: TestServer;

beforeAll(async () => {
  server = await startServer();
  await server.addUsers('sensor', 'dashboard');
});
afterAll(() => server.stop());

async function login(user: string): Promise<Agent> {
  const agent = createClient({
    jid: `${user}@localhost`,
    password: PASSWORD,
    transports: { websocket: `ws://127.0.0.1:${server.http}/xmpp-websocket`, bosh: false },
  });
  const started = new Promise<void>((resolve, reject) => {
    agent.once('session:started', () => resolve());
    agent.once('auth:failed', () => reject(new Error('login failed')));
  });
  agent.connect();
  await started;
  return agent;
}

it('stanza publishes JSON readings that a dashboard sees in order, and reads back', async () => {
  const sensor = await login('sensor');
  const dashboard = await login('dashboard');
  dashboard.sendPresence();
  const seen: unknown[] = [];
  const all = new Promise<void>((resolve) => {
    dashboard.on('pubsub:published', (message) => {
      for (const item of message.pubsub.items.published) {
        if (seen.push((item.content as { json?: unknown }).json) === VALUES.length) resolve();
      }
    });
  });
  await sensor.createNode('pubsub.localhost', NODE);
  await dashboard.subscribeToNode('pubsub.localhost', NODE);
  for (const value of VALUES) {
    await sensor.publish('pubsub.localhost', NODE, { itemType: 'urn:xmpp:json:0', json: { value } });
  }
  await all;
  expect(seen).toEqual(VALUES.map((value) => ({ value })));
  const { items } = await dashboard.getItems('pubsub.localhost', NODE);
  expect(items).toHaveLength(VALUES.length);
  const info = await dashboard.getDiscoInfo('pubsub.localhost');
  expect(info.identities).toContainEqual(expect.objectContaining({ category: 'pubsub', type: 'service' }));
  sensor.disconnect();
  dashboard.disconnect();
});
