import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { generate } from 'selfsigned';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { SecureSocket } from '../../src/cli/client/secure-socket.js';
import type { Target } from '../../src/cli/client/target.js';

const FEATURES = `<?xml version='1.0'?><stream:stream id='1' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>`;
const PROCEED = `<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`;

let certificate: { cert: string; private: string };
const servers: Server[] = [];
beforeAll(async () => {
  certificate = await generate([{ name: 'commonName', value: 'iot.example' }], {
    keyType: 'ec',
    extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'iot.example' }] }],
  });
});
afterEach(() => servers.splice(0).forEach((server) => server.close()));

/** A server that does with each connection what the test says. */
async function serve(talk: (socket: Socket) => Promise<void>): Promise<Target> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    void talk(socket);
  });
  servers.push(server);
  await new Promise<void>((up) => server.listen(0, '127.0.0.1', up));
  const { port } = server.address() as AddressInfo;
  const ca = [certificate.cert];
  return { transport: 'starttls', host: '127.0.0.1', port, domain: 'iot.example', pubsub: '', ca, local: true };
}

/** Takes over with TLS and sends back what comes. */
function echo(socket: Socket): void {
  const secured = new TLSSocket(socket, { isServer: true, cert: certificate.cert, key: certificate.private });
  secured.on('error', () => undefined);
  secured.pipe(secured);
}

async function starttls(socket: Socket): Promise<void> {
  const [header] = (await once(socket, 'data')) as [Buffer];
  expect(header.toString()).toContain(`<stream:stream to='iot.example' version='1.0'`);
  // In two pieces, as a network may deliver it.
  socket.write(FEATURES.slice(0, 90));
  socket.write(FEATURES.slice(90));
  await once(socket, 'data');
  socket.write(PROCEED);
  echo(socket);
}

/** `connect`, or the message of the error. */
function outcome(socket: SecureSocket): Promise<string> {
  const said = new Promise<string>((resolve) => {
    socket.once('connect', () => resolve('connect'));
    socket.once('error', (error: Error) => resolve(error.message));
  });
  socket.connect();
  return said;
}

describe('secure socket', () => {
  it.each(['starttls', 'tls'] as const)('is encrypted and verified when it connects (%s)', async (transport) => {
    const target = await serve(async (socket) => (transport === 'starttls' ? starttls(socket) : echo(socket)));
    const socket = new SecureSocket({ ...target, transport });
    expect(await outcome(socket)).toBe('connect');
    socket.write('hello');
    const [data] = (await once(socket, 'data')) as [Buffer];
    expect(data.toString()).toBe('hello');
    const closed = once(socket, 'close');
    socket.end();
    await closed;
    const failure = await new Promise<Error | null | undefined>((done) => socket.write('late', done));
    expect(failure?.message).toBe('the connection is closed');
  });
  it('refuses a certificate that it was not told to trust, and one for another name', async () => {
    const target = await serve(starttls);
    expect(await outcome(new SecureSocket({ ...target, ca: undefined }))).toContain('self-signed certificate');
    const other = await serve(async (socket) => echo(socket));
    expect(await outcome(new SecureSocket({ ...other, transport: 'tls', domain: 'bank.example' }))).toContain(
      'does not match',
    );
  });
  it('never goes on without TLS', async () => {
    const bare = await serve(async (socket) => void socket.write('<stream:stream><stream:features/>'));
    expect(await outcome(new SecureSocket(bare))).toBe('the server offers no TLS');
    const failing = await serve(async (socket) => {
      await once(socket, 'data');
      socket.write(FEATURES);
      await once(socket, 'data');
      socket.write(`<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`);
    });
    expect(await outcome(new SecureSocket(failing))).toContain('refuses TLS');
  });
  it('says so when the server hangs up or is none', async () => {
    const rude = await serve(async (socket) => void socket.destroy());
    expect(await outcome(new SecureSocket(rude))).toMatch(/closed the connection|ECONNRESET/);
    const chatty = await serve(async (socket) => void socket.write('x'.repeat(70_000)));
    expect(await outcome(new SecureSocket(chatty))).toBe('the server does not speak XMPP');
    servers.splice(0).forEach((server) => server.close());
    expect(await outcome(new SecureSocket(rude))).toContain('ECONNREFUSED');
  });
});
