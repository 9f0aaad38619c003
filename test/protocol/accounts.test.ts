import { afterAll, beforeAll, expect, it } from 'vitest';
import { startServer, type TestServer } from '../support/server.js';

let server: TestServer;

beforeAll(async () => {
  server = await startServer({ workers: 2 });
});
afterAll(() => server.stop());

it.each([
  ['user.remove', {}],
  ['user.passwd', { password: 'another' }],
])('%s ends the sessions of the account at every worker', async (operation, more) => {
  const user = operation.replace('.', '-');
  await server.addUsers(user);
  // Connections go to the workers in turns.
  const resources = ['1', '2', '3', '4'];
  const clients = await Promise.all(resources.map((resource) => server.client(user, { resource })));
  const ends = clients.map((client) => client.expectStreamError('not-authorized'));
  await server.control(operation, { user, ...more });
  expect(await Promise.all(ends)).toHaveLength(4);
});
