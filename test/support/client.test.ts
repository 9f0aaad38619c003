import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import uWS from 'uWebSockets.js';
import { RawClient, parseXml, NS } from './client.js';

const closers: (() => void)[] = [];
afterEach(() => closers.splice(0).forEach((close) => close()));

/** A server that does what its script says with each connection. */
async function scripted(script: (socket: Socket) => void) {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined).resume();
    script(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { host: '127.0.0.1', domain: 'localhost', c2s: port, c2s_tls: port, http: port };
}

const HEADER = `<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='${NS.streams}' id='1' from='localhost' version='1.0'>`;
const FEATURES = '<stream:features/>';

describe('the raw client', () => {
  test('reads a stream that comes byte by byte, and keeps what nobody took yet', async () => {
    const address = await scripted((socket) => {
      for (const byte of Buffer.from(`${HEADER}${FEATURES}<message><body>日本 &amp; é</body></message><presence/>`)) {
        socket.write(Buffer.of(byte));
      }
    });
    const client = await RawClient.connect(address);
    await client.open();
    expect(client.header?.attr('id')).toBe('1');
    await client.expect('presence');
    expect((await client.next()).get('body').text()).toBe('日本 & é');
    client.cut();
  });

  test('says what it saw when something else was expected', async () => {
    const address = await scripted((socket) => socket.write(`${HEADER}${FEATURES}<presence from='x@y'/>`));
    const client = await RawClient.connect(address);
    await client.open();
    await expect(client.expect('message', 50)).rejects.toThrow(/did not come; unread: <presence .*from='x@y'/);
    client.cut();
  });

  test('recognises a stream error and the end of the stream', async () => {
    const error = `<stream:error><conflict xmlns='${NS.streamErrors}'/></stream:error></stream:stream>`;
    const address = await scripted((socket) => socket.write(`${HEADER}${FEATURES}${error}`));
    const client = await RawClient.connect(address);
    await client.open();
    await client.expectStreamError('conflict');
    expect(client.ended).toBe(true);
    await expect(client.next()).rejects.toThrow('closed');
  });

  test('fails what waits when the server sends something that is no XML', async () => {
    const address = await scripted((socket) => socket.write(`${HEADER}${FEATURES}<a></b>`));
    const client = await RawClient.connect(address);
    await client.open();
    await expect(client.next()).rejects.toThrow('malformed');
  });

  test('finds a notification that came in spite of expectNothing, without waiting', async () => {
    const address = await scripted((socket) => {
      socket.once('data', () => {
        socket.write(`${HEADER}${FEATURES}<message/>`);
        socket.on('data', (bytes) => {
          const id = /id='([^']*)'/.exec(bytes.toString())![1];
          socket.write(`<iq type='result' id='${id}'/>`);
        });
      });
    });
    const client = await RawClient.connect(address);
    await client.open();
    await client.expectNothing('presence');
    await expect(client.expectNothing()).rejects.toThrow(/expected nothing, got <message/);
    client.cut();
  });

  test('speaks WebSocket: fragments, long messages, pings, and namespaces on every stanza', async () => {
    const seen: string[] = [];
    const app = uWS.App().ws('/xmpp-websocket', {
      maxPayloadLength: 1 << 20,
      upgrade: (res, req, context) => res.upgrade({}, req.getHeader('sec-websocket-key'), 'xmpp', '', context),
      message: (socket, message) => {
        const text = Buffer.from(message).toString();
        seen.push(text);
        socket.ping('are you there');
        if (text.startsWith('<open')) {
          socket.send(`<open xmlns='${NS.framing}' id='7' version='1.0'/>`);
          socket.send(`<stream:features xmlns:stream='${NS.streams}'/>`);
        } else socket.send(text);
      },
    });
    const port = await new Promise<number>((resolve) =>
      app.listen('127.0.0.1', 0, (socket) => resolve(uWS.us_socket_local_port(socket as never))),
    );
    closers.push(() => app.close());
    const client = await RawClient.connect(
      { host: '127.0.0.1', domain: 'localhost', c2s: 0, c2s_tls: 0, http: port },
      { via: 'websocket' },
    );
    await client.open();
    expect(client.header?.attr('id')).toBe('7');
    const body = 'é'.repeat(70_000);
    client.send(`<message id='1'><body>${body}</body></message>`);
    expect((await client.message({ ns: NS.client })).get('body').text()).toBe(body);
    await client.writeSlowly(`<presence xmlns='${NS.client}'/>`);
    await client.expect('presence');
    expect(seen[0]).toContain("to='localhost'");
    client.cut();
  });
});

test('trees keep what matters for a judgement: namespaces, prefixed attributes, mixed content', () => {
  const tree = parseXml("<a xmlns='x' xml:lang='de'>1<b xmlns='y'/>2<p:c xmlns:p='z' p:d='e'/></a>");
  expect(tree.attr('xml:lang')).toBe('de');
  expect(tree.names()).toEqual(['b', 'c']);
  expect(tree.text()).toBe('12');
  expect(tree.child('c', 'z')?.attr('p:d')).toBe('e');
  expect(() => parseXml('<a><b></a>')).toThrow();
});
